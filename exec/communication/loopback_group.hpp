#pragma once

#include "exec/communication/blocking_group.hpp"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace runflat::exec {

/// Where the ranks of a group meet, threads that share memory. The last to come to a collective
/// carries it out for all, reading and writing their memory; the others sleep meanwhile. Of a
/// message, the end that comes second copies it.
class LoopbackHub {
 public:
  explicit LoopbackHub(std::int64_t size);

  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(seats_.size()); }

  /// Carries out the collective once all ranks are there, with the memory of each, by rank. Throws
  /// InvalidArgument, and all ranks lose a peer, when `signature`, which says what it is, differs.
  using Collective = std::function<void(std::span<std::byte* const>)>;
  SyncStatus meet(std::int64_t rank,
                  std::byte* data,
                  std::vector<std::int64_t> signature,
                  const Collective& collective,
                  Deadline deadline);

  SyncStatus exchange(std::int64_t rank,
                      std::span<const Send> sends,
                      std::span<const Receive> receives,
                      Deadline deadline);

  /// The rank takes part in nothing any more: what needs it is lost to the others.
  void leave(std::int64_t rank);

  /// Nobody takes part in anything any more.
  void break_up();

 private:
  struct Seat {
    std::condition_variable changed;
    std::byte* data = nullptr;
    std::vector<std::int64_t> signature;
    std::int64_t num_open_messages = 0;
    bool has_left = false;
    bool has_lost_peer = false;  // the other end of one of its open messages
  };
  /// Ends of messages from one rank to another that wait for the other end.
  struct Mailbox {
    std::deque<Send> sends;
    std::deque<Receive> receives;
  };
  struct Match {
    std::int64_t from = 0;
    std::int64_t to = 0;
    Send send;
    Receive receive;
  };
  using Lock = std::unique_lock<std::mutex>;

  [[nodiscard]] Seat& seat(std::int64_t rank) { return seats_[static_cast<std::size_t>(rank)]; }
  [[nodiscard]] Mailbox& mailbox(std::int64_t from, std::int64_t to) {
    return mailboxes_[static_cast<std::size_t>(from * size() + to)];
  }
  [[nodiscard]] std::vector<Match> post(std::int64_t rank,
                                        std::span<const Send> sends,
                                        std::span<const Receive> receives);
  void copy(Lock& lock, const std::vector<Match>& matches);
  void run_for_all(Lock& lock, const Collective& collective);
  template <typename IsOver, typename IsLost>
  SyncStatus wait(Lock& lock, Seat& mine, Deadline deadline, IsOver is_over, IsLost is_lost);
  void notify_all();

  std::mutex mutex_;
  std::vector<Seat> seats_;
  std::vector<Mailbox> mailboxes_;
  std::int64_t num_arrived_ = 0;
  std::int64_t num_met_ = 0;  // collectives that are over
  std::int64_t num_left_ = 0;
  std::int64_t num_busy_ = 0;  // ranks that read or write the memory of others
  bool broken_ = false;
};

/// One rank's end.
class LoopbackGroup : public BlockingGroup {
 public:
  LoopbackGroup(std::shared_ptr<LoopbackHub> hub, std::int64_t rank)
      : hub_(std::move(hub)), rank_(rank) {}
  ~LoopbackGroup() override { hub_->leave(rank_); }

  [[nodiscard]] std::int64_t rank() const override { return rank_; }
  [[nodiscard]] std::int64_t size() const override { return hub_->size(); }
  SyncStatus all_reduce(
      std::byte* data, std::int64_t num, DataType type, ReduceOp op, Deadline deadline) override;
  SyncStatus reduce_scatter(std::byte* data,
                            std::span<const std::int64_t> counts,
                            DataType type,
                            ReduceOp op,
                            Deadline deadline) override;
  SyncStatus all_gather(std::byte* data,
                        std::span<const std::int64_t> counts,
                        DataType type,
                        Deadline deadline) override;
  SyncStatus broadcast(std::byte* data,
                       std::int64_t bytes,
                       std::int64_t root,
                       Deadline deadline) override;
  SyncStatus exchange(std::span<const Send> sends,
                      std::span<const Receive> receives,
                      Deadline deadline) override;
  SyncStatus barrier(Deadline deadline) override;
  void abort() override { hub_->break_up(); }

 private:
  std::shared_ptr<LoopbackHub> hub_;
  std::int64_t rank_;
};

}  // namespace runflat::exec
