#pragma once

#include "exec/store/clock.hpp"
#include "kernels/data_type.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace runflat::exec {

using kernels::DataType;

/// How communication with peers ended. Losing a peer is a value, not an exception: a failure of
/// another process is an ordinary event here.
enum class SyncStatus : std::uint8_t { done, peer_lost, timed_out };

enum class ReduceOp : std::uint8_t { sum, max };

/// One message of a grouped send and receive.
struct Send {
  std::int64_t peer = 0;
  const void* data = nullptr;
  std::int64_t bytes = 0;
};
struct Receive {
  std::int64_t peer = 0;
  void* data = nullptr;
  std::int64_t bytes = 0;
};

/// Names an operation of one communicator: they are numbered in the order of their calls, from 1.
using Ticket = std::int64_t;

/// When an operation ran.
struct OperationTime {
  Ticket ticket = 0;
  Clock::time_point begin;
  Clock::time_point end;
};

/// One rank's end of a group of ranks. All members call the same collectives in the same order with
/// sizes that agree; messages between two members match in the order of their calls.
///
/// Operations are queued and happen in order, after everything that this rank's compute was given
/// before the call (device work included); the call returns at once. Their memory belongs to the
/// communicator until join() or wait(). Once an operation has failed, status() says so, the later
/// ones do nothing, and what the operations since the last join() wrote holds nothing meaningful.
///
/// Used by one thread; abort() and is_busy() alone may come from any.
class Communicator {
 public:
  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  virtual ~Communicator() = default;

  [[nodiscard]] virtual std::int64_t rank() const = 0;
  [[nodiscard]] virtual std::int64_t size() const = 0;

  /// Replaces `data` by its reduction over all ranks, the same on all of them to the bit.
  virtual Ticket all_reduce(void* data, std::int64_t num, DataType type, ReduceOp op) = 0;

  /// `data` holds `counts[0] + counts[1] + ...` elements, in that order; afterwards part r of rank
  /// r holds its reduction over all ranks, and the other parts nothing meaningful.
  virtual Ticket reduce_scatter(void* data,
                                std::span<const std::int64_t> counts,
                                DataType type,
                                ReduceOp op) = 0;

  /// `data` holds `counts[0] + counts[1] + ...` elements; rank r brings part r, all get all.
  virtual Ticket all_gather(void* data, std::span<const std::int64_t> counts, DataType type) = 0;

  virtual Ticket broadcast(void* data, std::int64_t bytes, std::int64_t root) = 0;

  /// Posts all messages together, as between ncclGroupStart and ncclGroupEnd, also to oneself.
  virtual Ticket exchange(std::span<const Send> sends, std::span<const Receive> receives) = 0;

  virtual Ticket barrier() = 0;

  /// Later operations of this communicator happen after that one of another communicator.
  virtual void follow(Communicator& other, Ticket ticket) = 0;

  /// What this rank's compute does next happens after the operation. On the host it returns when
  /// the operation is over; on a device only the compute stream waits. Never longer than the
  /// timeout that the communicator was made with; the outcome is in status().
  virtual void join(Ticket ticket) = 0;

  /// The first failure of any operation so far, as far as it is known.
  [[nodiscard]] virtual SyncStatus status() const = 0;

  /// Whether any operation has not ended yet, as far as it is known.
  [[nodiscard]] virtual bool is_busy() = 0;

  /// Returns when all operations so far are over on the host's clock, or why they will not be.
  [[nodiscard]] virtual SyncStatus wait(Deadline deadline) = 0;

  /// Ends all operations, here and on all peers, with peer_lost. The memory of the operations is
  /// free when it returns.
  virtual void abort() = 0;

  /// From now on, notes when operations run.
  virtual void record_times() = 0;
  /// What was noted since the last call, in order of tickets; only operations that are over.
  [[nodiscard]] virtual std::vector<OperationTime> take_times() = 0;
};

/// Sends `send_bytes[r]` bytes to every rank r, taken from `send` one after another, and receives
/// `recv_bytes[r]` from r into `recv` likewise. `send` and `recv` do not overlap.
Ticket all_to_all_v(Communicator& group,
                    const void* send,
                    std::span<const std::int64_t> send_bytes,
                    void* recv,
                    std::span<const std::int64_t> recv_bytes);

}  // namespace runflat::exec
