#pragma once

#include "exec/store/clock.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace runflat::exec {

/// The store cannot be used: the text is one line and names the store, never its password.
class StoreError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Where the processes of a job meet: a map from keys to values that all of them see. Keys are 1 to
/// 1,000 bytes, values up to 16 MiB, of any content. Each operation but remove_prefix() is atomic,
/// and what one process has written before another reads, it sees. Used by any thread.
///
/// Throws StoreError when the store stays out of reach longer than its timeout.
class Store {
 public:
  static constexpr std::int64_t kMaxKeySize = 1000;
  static constexpr std::int64_t kMaxValueSize = std::int64_t{16} << 20;

  Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  virtual ~Store() = default;

  virtual void set(std::string_view key, std::string_view value) = 0;
  [[nodiscard]] virtual std::optional<std::string> get(std::string_view key) = 0;
  /// The value once there is one; nothing when there was none before the deadline.
  [[nodiscard]] virtual std::optional<std::string> wait(std::string_view key,
                                                        Deadline deadline) = 0;
  /// Adds to a counter and returns its new value. The value is a decimal number; no value is 0.
  virtual std::int64_t add(std::string_view key, std::int64_t amount) = 0;
  /// Sets the value if it is `expected` (nothing: if there is none); returns whether it did.
  virtual bool compare_set(std::string_view key,
                           std::optional<std::string_view> expected,
                           std::string_view value) = 0;
  virtual void remove(std::string_view key) = 0;
  /// Removes the keys that start with `prefix`.
  virtual void remove_prefix(std::string_view prefix) = 0;
  /// The keys that start with `prefix`, sorted by bytes.
  [[nodiscard]] virtual std::vector<std::string> list(std::string_view prefix) = 0;
};

/// Opens the store at `dir:/path` (one host) or `redis://[[user]:password@]host[:port][/prefix]`,
/// or `rediss://` for TLS.
/// Operations that cannot reach it are repeated for `timeout`.
[[nodiscard]] std::unique_ptr<Store> make_store(const std::string& url,
                                                std::chrono::milliseconds timeout);

/// Throw InvalidArgument when a limit is exceeded.
void require_key(std::string_view key);
void require_value(std::string_view value);

}  // namespace runflat::exec
