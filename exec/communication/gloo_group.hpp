#pragma once

#include "exec/communication/exchange_group.hpp"

#include <cstddef>
#include <cstdint>
#include <gloo/transport/context.h>
#include <gloo/transport/unbound_buffer.h>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

namespace runflat::exec {

/// A group over the pairwise connections of a Gloo context.
///
/// Gloo fails what a lost connection still has to begin, but not a message that is half there, and
/// it knows no abort. So every rank keeps one more receive from each peer, its farewell: a thread
/// waits for them, and when a connection ends without one, it aborts the group.
class GlooGroup : public ExchangeGroup {
 public:
  /// All pairs of `context` are connected.
  explicit GlooGroup(std::shared_ptr<gloo::transport::Context> context);
  ~GlooGroup() override;

  [[nodiscard]] std::int64_t rank() const override { return context_->rank; }
  [[nodiscard]] std::int64_t size() const override { return context_->size; }
  SyncStatus exchange(std::span<const Send> sends,
                      std::span<const Receive> receives,
                      Deadline deadline) override;
  void abort() override;

 private:
  using Buffer = std::unique_ptr<gloo::transport::UnboundBuffer>;
  /// The messages of the operation in progress.
  struct Messages {
    std::vector<Buffer> sends;
    std::vector<Buffer> receives;
  };

  [[nodiscard]] Messages buffers_of(std::span<const Send> sends, std::span<const Receive> receives);
  void post(const Messages& messages,
            std::span<const Send> sends,
            std::span<const Receive> receives);
  [[nodiscard]] bool is_aborted();
  static bool wait(const Messages& messages, Deadline deadline);
  void copy_to_itself(std::span<const Send> sends, std::span<const Receive> receives) const;
  void watch();
  void say_farewell();

  std::shared_ptr<gloo::transport::Context> context_;
  std::mutex mutex_;  // guards the next two
  const Messages* active_ = nullptr;
  std::optional<Clock::time_point> aborted_at_;
  std::byte farewell_{};
  Buffer farewells_;  // of the peers
  std::thread watcher_;
};

}  // namespace runflat::exec
