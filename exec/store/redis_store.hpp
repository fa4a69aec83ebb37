#pragma once

#include "exec/store/store.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace runflat::exec {

struct RedisAddress {
  bool has_tls = false;
  std::string host;
  std::uint16_t port = 6379;
  std::string user;                // empty: the default user
  std::string password;            // empty: no AUTH
  std::string prefix = "runflat";  ///< of the job's keys: jobs with different ones share a server
};

/// A Redis server of version 5 or later. Connects again when the connection is lost; a counter or a
/// compare_set that was on its way then happens once all the same.
[[nodiscard]] std::unique_ptr<Store> make_redis_store(const RedisAddress& address,
                                                      std::chrono::milliseconds timeout);

}  // namespace runflat::exec
