#pragma once

#include "exec/communication/communicator.hpp"
#include "exec/device/cuda_device.hpp"
#include "exec/device/cuda_handles.hpp"

#include <nccl.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace runflat::exec {

/// An NCCL call that failed for another reason than a peer; the text holds the call and the reason.
class NcclError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A communicator on a GPU: operations are queued on a stream of its own, of high priority, that
/// waits for the compute stream where they were called, by events. The NCCL communicator does not
/// block: a call that does not come to an end in time is a status.
///
/// NCCL does not see the death of a peer on the same host: join() puts no host in front of the
/// device, so that only wait() and the timeout find it. Whoever learns of it otherwise calls
/// abort(), of all groups at once: what it frees waits for all that runs on the device.
class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(CudaDevice& device, ncclComm_t comm, std::chrono::milliseconds timeout);
  ~NcclCommunicator() override;

  [[nodiscard]] std::int64_t rank() const override { return rank_; }
  [[nodiscard]] std::int64_t size() const override { return size_; }
  Ticket all_reduce(void* data, std::int64_t num, DataType type, ReduceOp op) override;
  Ticket reduce_scatter(void* data,
                        std::span<const std::int64_t> counts,
                        DataType type,
                        ReduceOp op) override;
  Ticket all_gather(void* data, std::span<const std::int64_t> counts, DataType type) override;
  Ticket broadcast(void* data, std::int64_t bytes, std::int64_t root) override;
  Ticket exchange(std::span<const Send> sends, std::span<const Receive> receives) override;
  Ticket barrier() override;
  void follow(Communicator& other, Ticket ticket) override;
  void join(Ticket ticket) override;
  [[nodiscard]] SyncStatus status() const override { return status_; }
  /// Connects every pair of each of them, side by side, and all rings: a connection takes a third
  /// of a second, and those that are made within a step can block each other. Ends when wait()
  /// does, for each of them. Those that are nullptr are left out.
  static void connect(std::span<const std::unique_ptr<NcclCommunicator>> groups);

  [[nodiscard]] bool is_busy() override;
  [[nodiscard]] SyncStatus wait(Deadline deadline) override {
    return wait(deadline, [] { return false; });
  }
  /// Ends with timed_out also when it is interrupted.
  [[nodiscard]] SyncStatus wait(Deadline deadline, const std::function<bool()>& is_interrupted);
  void abort() override;
  void record_times() override;
  [[nodiscard]] std::vector<OperationTime> take_times() override;

 private:
  /// Two events of an operation that is timed.
  struct Timing {
    Ticket ticket = 0;
    CudaEvent begin;
    CudaEvent end;
  };

  void free_aside();
  [[nodiscard]] ncclResult_t post_connections();
  Ticket run(const std::function<ncclResult_t(ncclComm_t)>& call);
  void start_timing(Ticket ticket);
  /// Calls and waits on the host until the communicator has taken it.
  void settle(const std::function<ncclResult_t(ncclComm_t)>& call, Deadline deadline);
  /// The state of the communicator: an error once it is aborted.
  [[nodiscard]] ncclResult_t state();
  void fail(SyncStatus status);
  [[nodiscard]] cudaEvent_t event_of(Ticket ticket) const;

  CudaDevice& device_;
  std::mutex mutex_;  // held by whoever uses comm_, which abort() takes away
  ncclComm_t comm_;
  std::chrono::milliseconds timeout_;
  std::int64_t rank_ = 0;
  std::int64_t size_ = 0;
  CudaStream stream_;
  CudaEvent compute_;              // where the compute stream was
  std::vector<CudaEvent> events_;  // of the last operations, by ticket
  Ticket issued_ = 0;
  std::atomic<SyncStatus> status_ = SyncStatus::done;
  std::atomic<bool> is_settling_ = false;  // a call that peers may have to answer
  Buffer barrier_;
  bool records_times_ = false;
  std::deque<Timing> timings_;
  CudaEvent base_;  // when base_time_ was
  Clock::time_point base_time_;
};

/// The settings of all our communicators: calls do not block.
[[nodiscard]] ncclConfig_t nccl_config();

}  // namespace runflat::exec
