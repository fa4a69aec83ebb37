#pragma once

#include "exec/communication/blocking_group.hpp"
#include "exec/communication/communicator.hpp"
#include "exec/communication/transport.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace runflat::exec {

/// A communicator on the host: a thread carries out the operations of a blocking group in the order
/// of their calls. A caller that joins while the thread is idle carries them out itself.
///
/// What an operation throws (sizes that the ranks do not agree on) is thrown by join() and wait().
/// Operations that are not over when it is destroyed are aborted. It follows communicators of its
/// own kind only, and an operation that follows a failed one fails as well.
class QueuedCommunicator : public Communicator {
 public:
  /// `timeout`: of an operation, from its turn in the queue.
  QueuedCommunicator(std::unique_ptr<BlockingGroup> group, std::chrono::milliseconds timeout);
  ~QueuedCommunicator() override;

  [[nodiscard]] std::int64_t rank() const override { return group_->rank(); }
  [[nodiscard]] std::int64_t size() const override { return group_->size(); }
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
  [[nodiscard]] SyncStatus status() const override { return progress_->status; }
  [[nodiscard]] bool is_busy() override;
  [[nodiscard]] SyncStatus wait(Deadline deadline) override;
  void abort() override;
  void record_times() override;
  [[nodiscard]] std::vector<OperationTime> take_times() override;

 private:
  /// How far the operations are: outlives the communicator while others follow it.
  struct Progress {
    std::mutex mutex;
    std::condition_variable changed;
    Ticket over = 0;       // the last operation that has ended
    Ticket succeeded = 0;  // the last that ended with done
    std::atomic<SyncStatus> status = SyncStatus::done;
  };
  using Operation = std::function<SyncStatus(BlockingGroup&, Deadline)>;
  struct Task {
    Ticket ticket = 0;        // 0: wait for an operation of another communicator
    Operation run = nullptr;  // of an operation
    std::shared_ptr<Progress> followed = nullptr;  // otherwise
    Ticket followed_ticket = 0;
  };
  using Lock = std::unique_lock<std::mutex>;  // of progress_->mutex

  Ticket enqueue(Operation operation);
  void push(Lock& lock, Task task);
  void work();
  void run_next(Lock& lock, Deadline limit);
  SyncStatus run(const Task& task, Deadline limit);
  SyncStatus wait_for_followed(const Task& task, Deadline limit);
  void finish(Ticket ticket, Deadline deadline);
  void fail(Lock& lock, SyncStatus status);

  std::chrono::milliseconds timeout_;
  std::unique_ptr<BlockingGroup> group_;
  const std::shared_ptr<Progress> progress_ = std::make_shared<Progress>();
  // Guarded by progress_->mutex.
  std::deque<Task> queue_;
  Ticket issued_ = 0;
  bool running_ = false;
  bool stopping_ = false;
  std::shared_ptr<Progress> waiting_for_;  // of the task that runs
  std::exception_ptr error_;
  bool records_times_ = false;
  std::vector<OperationTime> times_;
  std::condition_variable has_work_;
  std::thread worker_;
};

/// A transport whose communicators are queues over the maker's groups.
class QueuedTransport : public Transport {
 public:
  QueuedTransport(std::int64_t process, std::shared_ptr<GroupMaker> maker)
      : process_(process), maker_(std::move(maker)) {}

  [[nodiscard]] std::int64_t process() const override { return process_; }
  [[nodiscard]] std::vector<std::unique_ptr<Communicator>> make_groups(
      std::span<const GroupSpec> groups, Deadline deadline) override;

 private:
  std::int64_t process_;
  std::shared_ptr<GroupMaker> maker_;
};

}  // namespace runflat::exec
