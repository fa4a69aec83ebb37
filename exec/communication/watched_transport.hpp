#pragma once

#include "exec/communication/transport.hpp"

#include <functional>
#include <span>

namespace runflat::exec {

/// For whoever watches the communication of a process or disturbs it.
struct OperationWatcher {
  std::function<void()> queued;  ///< an operation has just been queued
  /// Messages have arrived and just been joined: their memory is the caller's. Not told of those
  /// that operations of another communicator have followed.
  std::function<void(std::span<const Receive>)> received;
};

/// Makes the communicators of another transport, and tells what goes on in them. Both outlive
/// them.
class WatchedTransport : public Transport {
 public:
  WatchedTransport(Transport& transport, OperationWatcher watcher)
      : transport_(transport), watcher_(std::move(watcher)) {}

  [[nodiscard]] std::int64_t process() const override { return transport_.process(); }
  [[nodiscard]] std::vector<std::unique_ptr<Communicator>> make_groups(
      std::span<const GroupSpec> groups, Deadline deadline) override;

 private:
  Transport& transport_;
  OperationWatcher watcher_;
};

}  // namespace runflat::exec
