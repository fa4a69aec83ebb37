#include "exec/communication/queued_communicator.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>
#include <utility>

namespace runflat::exec {
namespace {

void require_parts(std::span<const std::int64_t> counts, const void* data, std::int64_t size) {
  require(std::ssize(counts) == size, "one count for every rank");
  require(std::all_of(counts.begin(), counts.end(), [](std::int64_t num) { return num >= 0; }),
          "counts are not negative");
  require(data != nullptr || std::accumulate(counts.begin(), counts.end(), std::int64_t{0}) == 0,
          "no memory");
}

void require_memory(const void* data, std::int64_t num) {
  require(num >= 0 && (data != nullptr || num == 0), "no memory");
}

template <typename Message>
void require_messages(std::span<const Message> messages, std::int64_t size) {
  for (const Message& message : messages) {
    require(message.peer >= 0 && message.peer < size, "no such peer");
    require_memory(message.data, message.bytes);
  }
}

}  // namespace

QueuedCommunicator::QueuedCommunicator(std::unique_ptr<BlockingGroup> group,
                                       std::chrono::milliseconds timeout)
    : timeout_(timeout), group_(std::move(group)), worker_([this] { work(); }) {}

QueuedCommunicator::~QueuedCommunicator() {
  {
    Lock lock(progress_->mutex);
    stopping_ = true;
    if (running_ || !queue_.empty()) {
      fail(lock, SyncStatus::peer_lost);
    }
  }
  has_work_.notify_one();
  worker_.join();
}

Ticket QueuedCommunicator::all_reduce(void* data, std::int64_t num, DataType type, ReduceOp op) {
  require_memory(data, num);
  return enqueue(
      [=, mine = static_cast<std::byte*>(data)](BlockingGroup& group, Deadline deadline) {
        return group.all_reduce(mine, num, type, op, deadline);
      });
}

Ticket QueuedCommunicator::reduce_scatter(void* data,
                                          std::span<const std::int64_t> counts,
                                          DataType type,
                                          ReduceOp op) {
  require_parts(counts, data, size());
  return enqueue([=,
                  mine = static_cast<std::byte*>(data),
                  parts = std::vector<std::int64_t>(counts.begin(), counts.end())](
                     BlockingGroup& group, Deadline deadline) {
    return group.reduce_scatter(mine, parts, type, op, deadline);
  });
}

Ticket QueuedCommunicator::all_gather(void* data,
                                      std::span<const std::int64_t> counts,
                                      DataType type) {
  require_parts(counts, data, size());
  return enqueue([=,
                  mine = static_cast<std::byte*>(data),
                  parts = std::vector<std::int64_t>(counts.begin(), counts.end())](
                     BlockingGroup& group, Deadline deadline) {
    return group.all_gather(mine, parts, type, deadline);
  });
}

Ticket QueuedCommunicator::broadcast(void* data, std::int64_t bytes, std::int64_t root) {
  require_memory(data, bytes);
  require(root >= 0 && root < size(), "broadcast: no such root");
  return enqueue(
      [=, mine = static_cast<std::byte*>(data)](BlockingGroup& group, Deadline deadline) {
        return group.broadcast(mine, bytes, root, deadline);
      });
}

Ticket QueuedCommunicator::exchange(std::span<const Send> sends,
                                    std::span<const Receive> receives) {
  require_messages(sends, size());
  require_messages(receives, size());
  return enqueue(
      [out = std::vector<Send>(sends.begin(), sends.end()),
       in = std::vector<Receive>(receives.begin(), receives.end())](
          BlockingGroup& group, Deadline deadline) { return group.exchange(out, in, deadline); });
}

Ticket QueuedCommunicator::barrier() {
  return enqueue([](BlockingGroup& group, Deadline deadline) { return group.barrier(deadline); });
}

void QueuedCommunicator::follow(Communicator& other, Ticket ticket) {
  if (&other == this) {
    return;  // they are in order anyway
  }
  auto* queued = dynamic_cast<QueuedCommunicator*>(&other);
  require(queued != nullptr, "follow: communicators of one kind");
  {
    const Lock lock(queued->progress_->mutex);
    require(ticket <= queued->issued_, "follow: no such operation yet");
    if (queued->progress_->succeeded >= ticket) {
      return;
    }
  }
  Lock lock(progress_->mutex);
  push(lock, {.followed = queued->progress_, .followed_ticket = ticket});
}

void QueuedCommunicator::join(Ticket ticket) {
  finish(ticket, deadline_in(timeout_));
}

bool QueuedCommunicator::is_busy() {
  const Lock lock(progress_->mutex);
  return running_ || !queue_.empty();
}

SyncStatus QueuedCommunicator::wait(Deadline deadline) {
  finish(issued_, deadline);
  return status();
}

void QueuedCommunicator::abort() {
  Lock lock(progress_->mutex);
  fail(lock, SyncStatus::peer_lost);
}

void QueuedCommunicator::record_times() {
  const Lock lock(progress_->mutex);
  records_times_ = true;
}

std::vector<OperationTime> QueuedCommunicator::take_times() {
  const Lock lock(progress_->mutex);
  return std::exchange(times_, {});
}

Ticket QueuedCommunicator::enqueue(Operation operation) {
  Lock lock(progress_->mutex);
  const Ticket ticket = ++issued_;
  push(lock, {.ticket = ticket, .run = std::move(operation)});
  return ticket;
}

void QueuedCommunicator::push(Lock& lock, Task task) {
  if (status() != SyncStatus::done) {
    progress_->over = issued_;
    return;
  }
  queue_.push_back(std::move(task));
  lock.unlock();
  has_work_.notify_one();
}

void QueuedCommunicator::work() {
  Lock lock(progress_->mutex);
  while (true) {
    has_work_.wait(lock, [&] { return stopping_ || (!running_ && !queue_.empty()); });
    if (stopping_) {
      return;
    }
    run_next(lock, Deadline::max());
  }
}

void QueuedCommunicator::run_next(Lock& lock, Deadline limit) {
  const Task task = std::move(queue_.front());
  queue_.pop_front();
  running_ = true;
  waiting_for_ = task.followed;
  lock.unlock();
  const Clock::time_point begin = Clock::now();
  SyncStatus ended = SyncStatus::peer_lost;
  std::exception_ptr error;
  try {
    ended = run(task, limit);
  } catch (...) {
    error = std::current_exception();
  }
  const Clock::time_point end = Clock::now();
  lock.lock();
  running_ = false;
  waiting_for_ = nullptr;
  error_ = error_ ? error_ : error;
  if (ended != SyncStatus::done) {
    fail(lock, ended);
  } else if (task.ticket > 0) {
    progress_->succeeded = task.ticket;
    progress_->over = task.ticket;
    if (records_times_) {
      times_.push_back({task.ticket, begin, end});
    }
  }
  if (status() != SyncStatus::done) {
    progress_->over = issued_;  // somebody failed it meanwhile
  }
  progress_->changed.notify_all();
}

SyncStatus QueuedCommunicator::run(const Task& task, Deadline limit) {
  if (task.followed) {
    return wait_for_followed(task, limit);
  }
  return task.run(*group_, std::min(limit, deadline_in(timeout_)));
}

SyncStatus QueuedCommunicator::wait_for_followed(const Task& task, Deadline limit) {
  Progress& followed = *task.followed;
  Lock lock(followed.mutex);
  const bool ended = followed.changed.wait_until(lock, limit, [&] {
    return followed.over >= task.followed_ticket || status() != SyncStatus::done;
  });
  if (followed.succeeded >= task.followed_ticket) {
    return SyncStatus::done;
  }
  return ended ? SyncStatus::peer_lost : SyncStatus::timed_out;
}

/// Returns when the operation is over; fails the communicator when it is not before the deadline.
void QueuedCommunicator::finish(Ticket ticket, Deadline deadline) {
  Lock lock(progress_->mutex);
  require(ticket <= issued_, "no such operation yet");
  const auto has_turn = [&] { return !running_ && !queue_.empty(); };
  const auto is_over = [&] { return progress_->over >= ticket; };
  while (!is_over()) {
    if (has_turn()) {
      run_next(lock, deadline);
    } else if (!progress_->changed.wait_until(
                   lock, deadline, [&] { return is_over() || has_turn(); })) {
      fail(lock, SyncStatus::timed_out);
    }
  }
  if (has_turn()) {
    has_work_.notify_one();
  }
  if (error_) {
    std::rethrow_exception(error_);
  }
}

/// Ends everything that is queued or running. Returns, with the lock held, when that is so.
void QueuedCommunicator::fail(Lock& lock, SyncStatus status) {
  SyncStatus healthy = SyncStatus::done;
  progress_->status.compare_exchange_strong(healthy, status);
  queue_.clear();
  const std::shared_ptr<Progress> waiting_for = waiting_for_;
  lock.unlock();
  group_->abort();
  if (waiting_for) {
    const Lock pause(waiting_for->mutex);  // it is asleep, or has not looked at the status yet
    waiting_for->changed.notify_all();
  }
  lock.lock();
  progress_->changed.wait(lock, [&] { return !running_; });
  progress_->over = issued_;
  progress_->changed.notify_all();
}

std::vector<std::unique_ptr<Communicator>> QueuedTransport::make_groups(
    std::span<const GroupSpec> groups, Deadline deadline) {
  std::vector<std::unique_ptr<Communicator>> made(groups.size());
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const GroupSpec& group = groups[i];
    require(std::count(group.members.begin(), group.members.end(), process_) == 1,
            "make_groups: this process is no member");
    auto blocking = maker_->make(group, deadline);
    if (!blocking) {
      break;
    }
    made[i] = std::make_unique<QueuedCommunicator>(std::move(blocking), group.timeout);
  }
  return made;
}

}  // namespace runflat::exec
