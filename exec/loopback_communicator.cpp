#include "exec/loopback_communicator.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

namespace runflat::exec {
namespace {

/// What a rank shows the others during one operation.
struct Posted {
  const std::byte* data = nullptr;
  std::vector<std::int64_t> send_bytes;  // of an all_to_all_v
};

/// The meeting point of a group. An operation has two meetings: when all have posted their memory,
/// everybody reads the others'; when all have read, the memory is free again. Only the first can
/// fail: once all have posted, nothing but copying stands before the second.
class Hub {
 public:
  explicit Hub(std::int64_t size) : posted_(static_cast<std::size_t>(size)) {}

  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(posted_.size()); }
  [[nodiscard]] const std::vector<Posted>& posted() const { return posted_; }

  /// A rank will take part in nothing any more.
  void leave() {
    const std::lock_guard lock(mutex_);
    broken_ = true;
    changed_.notify_all();
  }

  SyncStatus post_and_meet(std::size_t rank, Posted posted, Deadline deadline) {
    std::unique_lock lock(mutex_);
    if (broken_) {
      return SyncStatus::peer_lost;
    }
    posted_[rank] = std::move(posted);
    const std::int64_t meeting = arrive();
    changed_.wait_until(lock, deadline, [&] { return meeting != meeting_ || broken_; });
    if (meeting != meeting_) {
      return SyncStatus::done;
    }
    const SyncStatus status = broken_ ? SyncStatus::peer_lost : SyncStatus::timed_out;
    broken_ = true;
    changed_.notify_all();
    return status;
  }

  void meet() {
    std::unique_lock lock(mutex_);
    const std::int64_t meeting = arrive();
    changed_.wait(lock, [&] { return meeting != meeting_; });
  }

 private:
  /// Returns the number of the meeting joined; the last to arrive ends it.
  std::int64_t arrive() {
    const std::int64_t joined = meeting_;
    if (++num_arrived_ == size()) {
      num_arrived_ = 0;
      ++meeting_;
      changed_.notify_all();
    }
    return joined;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Posted> posted_;
  std::int64_t num_arrived_ = 0;
  std::int64_t meeting_ = 0;
  bool broken_ = false;
};

template <typename T>
void reduce_into(std::vector<std::byte>& out, const std::byte* in, ReduceOp op) {
  for (std::size_t at = 0; at < out.size(); at += sizeof(T)) {
    T mine;
    T other;
    std::memcpy(&mine, out.data() + at, sizeof(T));
    std::memcpy(&other, in + at, sizeof(T));
    switch (op) {
      case ReduceOp::sum:
        mine += other;
        break;
      case ReduceOp::max:
        mine = std::max(mine, other);
        break;
    }
    std::memcpy(out.data() + at, &mine, sizeof(T));
  }
}

void reduce_into(std::vector<std::byte>& out, const std::byte* in, DataType type, ReduceOp op) {
  switch (type) {
    case DataType::fp32:
      return reduce_into<float>(out, in, op);
    case DataType::fp64:
      return reduce_into<double>(out, in, op);
    case DataType::int64:
      return reduce_into<std::int64_t>(out, in, op);
  }
}

std::size_t size_of(DataType type) {
  switch (type) {
    case DataType::fp32:
      return sizeof(float);
    case DataType::fp64:
      return sizeof(double);
    case DataType::int64:
      return sizeof(std::int64_t);
  }
  return 0;
}

/// Operations are noted when called and carried out, in order, by wait().
class LoopbackCommunicator : public Communicator {
 public:
  LoopbackCommunicator(Hub& hub, std::int64_t rank) : hub_(hub), rank_(rank) {}

  [[nodiscard]] std::int64_t rank() const override { return rank_; }
  [[nodiscard]] std::int64_t size() const override { return hub_.size(); }

  void all_to_all_v(const void* send,
                    std::span<const std::int64_t> send_bytes,
                    void* recv,
                    std::span<const std::int64_t> recv_bytes) override {
    const auto num_ranks = static_cast<std::size_t>(size());
    require(send_bytes.size() == num_ranks && recv_bytes.size() == num_ranks,
            "all_to_all_v: one size for every rank");
    pending_.push_back([this,
                        posted = Posted{static_cast<const std::byte*>(send),
                                        {send_bytes.begin(), send_bytes.end()}},
                        out = static_cast<std::byte*>(recv),
                        expected = std::vector<std::int64_t>(recv_bytes.begin(), recv_bytes.end())](
                           Deadline deadline) {
      return exchange(posted, deadline, [&] { receive(out, expected); });
    });
  }

  void all_reduce(void* data, std::int64_t num, DataType type, ReduceOp op) override {
    pending_.push_back([=, this, mine = static_cast<std::byte*>(data)](Deadline deadline) {
      std::vector<std::byte> result(static_cast<std::size_t>(num) * size_of(type));
      const SyncStatus status = exchange({mine, {}}, deadline, [&] {
        const std::vector<Posted>& posted = hub_.posted();
        std::copy_n(posted.front().data, result.size(), result.begin());
        for (std::size_t rank = 1; rank < posted.size(); ++rank) {
          reduce_into(result, posted[rank].data, type, op);
        }
      });
      if (status == SyncStatus::done) {
        std::copy(result.begin(), result.end(), mine);
      }
      return status;
    });
  }

  void barrier() override {
    pending_.push_back([this](Deadline deadline) { return exchange({}, deadline, [] {}); });
  }

  [[nodiscard]] SyncStatus wait(Deadline deadline) override {
    for (const auto& operation : std::exchange(pending_, {})) {
      const SyncStatus status = operation(deadline);
      if (status != SyncStatus::done) {
        return status;
      }
    }
    return SyncStatus::done;
  }

 private:
  template <typename Read>
  SyncStatus exchange(const Posted& mine, Deadline deadline, Read read) {
    const SyncStatus status = hub_.post_and_meet(static_cast<std::size_t>(rank_), mine, deadline);
    if (status != SyncStatus::done) {
      return status;
    }
    std::exception_ptr error;  // must not keep the others waiting
    try {
      read();
    } catch (...) {
      error = std::current_exception();
    }
    hub_.meet();
    if (error) {
      std::rethrow_exception(error);
    }
    return status;
  }

  void receive(std::byte* out, const std::vector<std::int64_t>& expected) const {
    const auto me = static_cast<std::size_t>(rank_);
    for (std::size_t peer = 0; peer < expected.size(); ++peer) {
      const Posted& from = hub_.posted()[peer];
      const std::int64_t first = std::accumulate(
          from.send_bytes.begin(), from.send_bytes.begin() + rank_, std::int64_t{0});
      require(from.send_bytes[me] == expected[peer], "all_to_all_v: sizes of the ends differ");
      if (expected[peer] > 0) {
        std::memcpy(out, from.data + first, static_cast<std::size_t>(expected[peer]));
        out += expected[peer];
      }
    }
  }

  Hub& hub_;
  std::int64_t rank_;
  std::vector<std::function<SyncStatus(Deadline)>> pending_;
};

}  // namespace

void spawn(std::int64_t world_size, const std::function<void(Communicator&)>& run) {
  require(world_size >= 1, "a group has at least one rank");
  Hub hub(world_size);
  std::mutex mutex;
  std::exception_ptr first_error;
  std::vector<std::thread> threads;
  for (std::int64_t rank = 0; rank < world_size; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        LoopbackCommunicator communicator(hub, rank);
        run(communicator);
      } catch (...) {
        const std::lock_guard lock(mutex);
        first_error = first_error ? first_error : std::current_exception();
      }
      hub.leave();
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  if (first_error) {
    std::rethrow_exception(first_error);
  }
}

}  // namespace runflat::exec
