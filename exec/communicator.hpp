#pragma once

#include <chrono>
#include <cstdint>
#include <span>

namespace runflat::exec {

/// How waiting for peers ended. Losing a peer is a value, not an exception: a failure of another
/// process is an ordinary event here.
enum class SyncStatus { done, peer_lost, timed_out };

enum class DataType { fp32, fp64, int64 };
enum class ReduceOp { sum, max };

using Deadline = std::chrono::steady_clock::time_point;

[[nodiscard]] inline Deadline deadline_in(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}

/// One rank's end of a group of ranks. All members call the same operations in the same order with
/// sizes that agree. An operation may return before it has happened: its memory belongs to the
/// communicator until wait(). After a status other than done the group cannot be used any more, and
/// the memory of its last operations holds nothing meaningful.
class Communicator {
 public:
  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  virtual ~Communicator() = default;

  [[nodiscard]] virtual std::int64_t rank() const = 0;
  [[nodiscard]] virtual std::int64_t size() const = 0;

  /// Sends `send_bytes[r]` bytes to every rank r, taken from `send` one after another, and receives
  /// `recv_bytes[r]` from r into `recv` likewise. `send` and `recv` do not overlap.
  virtual void all_to_all_v(const void* send,
                            std::span<const std::int64_t> send_bytes,
                            void* recv,
                            std::span<const std::int64_t> recv_bytes) = 0;

  /// Replaces `data` by its reduction over all ranks, the same on all of them to the bit.
  virtual void all_reduce(void* data, std::int64_t num, DataType type, ReduceOp op) = 0;

  virtual void barrier() = 0;

  /// Waits until all operations so far have happened, or says why they will not.
  [[nodiscard]] virtual SyncStatus wait(Deadline deadline) = 0;
};

}  // namespace runflat::exec
