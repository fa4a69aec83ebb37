#pragma once

#include "exec/communication/transport.hpp"
#include "exec/store/store.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace runflat::exec {

/// Communicators between processes, over TCP. A peer whose process is gone is lost at once; one
/// that is stopped or out of reach lets operations time out. The ends of a message whose sizes
/// differ time out as well.
struct GlooSpec {
  std::shared_ptr<Store> store;    ///< of this job alone: holds the addresses while a group is made
  std::int64_t process = 0;        ///< the number of this process
  std::string host = "127.0.0.1";  ///< a name or address of this host that its peers can reach
};

/// Throws std::runtime_error in one line when there is no such host or Gloo was not built in.
[[nodiscard]] std::unique_ptr<Transport> make_gloo_transport(const GlooSpec& spec);

}  // namespace runflat::exec
