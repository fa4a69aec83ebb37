#include "exec/communication/loopback_group.hpp"

#include "core/error.hpp"
#include "exec/communication/reduction.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

namespace runflat::exec {
namespace {

enum class Kind : std::uint8_t { all_reduce, reduce_scatter, all_gather, broadcast, barrier };

template <typename... Numbers>
std::vector<std::int64_t> signature_of(Kind kind, Numbers... numbers) {
  return {static_cast<std::int64_t>(kind), static_cast<std::int64_t>(numbers)...};
}

std::vector<std::int64_t> with_counts(std::vector<std::int64_t> signature,
                                      std::span<const std::int64_t> counts) {
  signature.insert(signature.end(), counts.begin(), counts.end());
  return signature;
}

void copy_bytes(void* to, const void* from, std::int64_t num) {
  if (num > 0) {
    std::memcpy(to, from, static_cast<std::size_t>(num));
  }
}

std::vector<const std::byte*> moved_by(std::span<std::byte* const> data, std::int64_t offset) {
  std::vector<const std::byte*> parts;
  for (const std::byte* of_rank : data) {
    parts.push_back(of_rank + offset);
  }
  return parts;
}

}  // namespace

LoopbackHub::LoopbackHub(std::int64_t size)
    : seats_(static_cast<std::size_t>(size)), mailboxes_(static_cast<std::size_t>(size * size)) {}

SyncStatus LoopbackHub::meet(std::int64_t rank,
                             std::byte* data,
                             std::vector<std::int64_t> signature,
                             const Collective& collective,
                             Deadline deadline) {
  Lock lock(mutex_);
  if (broken_ || num_left_ > 0) {
    return SyncStatus::peer_lost;
  }
  Seat& mine = seat(rank);
  mine.data = data;
  mine.signature = std::move(signature);
  if (++num_arrived_ == size()) {
    run_for_all(lock, collective);
    return SyncStatus::done;
  }
  const std::int64_t num_before = num_met_;
  return wait(
      lock, mine, deadline, [&] { return num_met_ != num_before; }, [&] { return num_left_ > 0; });
}

void LoopbackHub::run_for_all(Lock& lock, const Collective& collective) {
  num_arrived_ = 0;
  ++num_busy_;
  lock.unlock();
  std::exception_ptr error;  // must not keep the others waiting
  try {
    std::vector<std::byte*> data;
    for (const Seat& of_rank : seats_) {
      require(of_rank.signature == seats_.front().signature,
              "the ranks of a group do not call the same collective");
      data.push_back(of_rank.data);
    }
    collective(data);
  } catch (...) {
    error = std::current_exception();
  }
  lock.lock();
  --num_busy_;
  broken_ = broken_ || error;
  num_met_ += error ? 0 : 1;
  notify_all();
  if (error) {
    std::rethrow_exception(error);
  }
}

SyncStatus LoopbackHub::exchange(std::int64_t rank,
                                 std::span<const Send> sends,
                                 std::span<const Receive> receives,
                                 Deadline deadline) {
  Lock lock(mutex_);
  if (broken_) {
    return SyncStatus::peer_lost;
  }
  Seat& mine = seat(rank);
  mine.num_open_messages = std::ssize(sends) + std::ssize(receives);
  copy(lock, post(rank, sends, receives));
  return wait(
      lock,
      mine,
      deadline,
      [&] { return mine.num_open_messages == 0; },
      [&] { return mine.has_lost_peer; });
}

std::vector<LoopbackHub::Match> LoopbackHub::post(std::int64_t rank,
                                                  std::span<const Send> sends,
                                                  std::span<const Receive> receives) {
  std::vector<Match> matches;
  for (const Send& send : sends) {
    Mailbox& box = mailbox(rank, send.peer);
    if (box.receives.empty()) {
      box.sends.push_back(send);
      seat(rank).has_lost_peer |= seat(send.peer).has_left;
    } else {
      matches.push_back({rank, send.peer, send, box.receives.front()});
      box.receives.pop_front();
    }
  }
  for (const Receive& receive : receives) {
    Mailbox& box = mailbox(receive.peer, rank);
    if (box.sends.empty()) {
      box.receives.push_back(receive);
      seat(rank).has_lost_peer |= seat(receive.peer).has_left;
    } else {
      matches.push_back({receive.peer, rank, box.sends.front(), receive});
      box.sends.pop_front();
    }
  }
  return matches;
}

void LoopbackHub::copy(Lock& lock, const std::vector<Match>& matches) {
  const bool agree = std::all_of(matches.begin(), matches.end(), [](const Match& match) {
    return match.send.bytes == match.receive.bytes;
  });
  if (!agree) {
    broken_ = true;
    notify_all();
  }
  require(agree, "the sizes of a message's ends differ");
  ++num_busy_;
  lock.unlock();
  for (const Match& match : matches) {
    copy_bytes(match.receive.data, match.send.data, match.send.bytes);
  }
  lock.lock();
  --num_busy_;
  for (const Match& match : matches) {
    for (const std::int64_t end : {match.from, match.to}) {
      if (--seat(end).num_open_messages == 0) {
        seat(end).changed.notify_one();
      }
    }
  }
  if (broken_) {
    notify_all();  // those that only waited for the copying to end
  }
}

void LoopbackHub::leave(std::int64_t rank) {
  const Lock lock(mutex_);
  if (std::exchange(seat(rank).has_left, true)) {
    return;
  }
  ++num_left_;
  for (std::int64_t peer = 0; peer < size(); ++peer) {
    seat(peer).has_lost_peer |=
        !mailbox(peer, rank).sends.empty() || !mailbox(rank, peer).receives.empty();
  }
  notify_all();
}

void LoopbackHub::break_up() {
  const Lock lock(mutex_);
  if (!std::exchange(broken_, true)) {
    notify_all();
  }
}

template <typename IsOver, typename IsLost>
SyncStatus LoopbackHub::wait(
    Lock& lock, Seat& mine, Deadline deadline, IsOver is_over, IsLost is_lost) {
  // Copies that are under way may be of this rank's memory.
  const auto has_failed = [&] { return (broken_ || is_lost()) && num_busy_ == 0; };
  const auto has_ended = [&] { return is_over() || has_failed(); };
  const bool in_time = mine.changed.wait_until(lock, deadline, has_ended);
  if (is_over()) {
    return SyncStatus::done;
  }
  const SyncStatus failure =
      in_time || broken_ || is_lost() ? SyncStatus::peer_lost : SyncStatus::timed_out;
  broken_ = true;
  notify_all();
  mine.changed.wait(lock, has_ended);
  return is_over() ? SyncStatus::done : failure;
}

void LoopbackHub::notify_all() {
  for (Seat& of_rank : seats_) {
    of_rank.changed.notify_one();
  }
}

SyncStatus LoopbackGroup::all_reduce(
    std::byte* data, std::int64_t num, DataType type, ReduceOp op, Deadline deadline) {
  return hub_->meet(
      rank_,
      data,
      signature_of(Kind::all_reduce, num, type, op),
      [=](std::span<std::byte* const> all) { reduce(moved_by(all, 0), all, num, type, op); },
      deadline);
}

SyncStatus LoopbackGroup::reduce_scatter(std::byte* data,
                                         std::span<const std::int64_t> counts,
                                         DataType type,
                                         ReduceOp op,
                                         Deadline deadline) {
  const auto scatter = [=](std::span<std::byte* const> all) {
    std::int64_t offset = 0;
    for (std::size_t owner = 0; owner < all.size(); ++owner) {
      std::byte* const out = all[owner] + offset;
      reduce(moved_by(all, offset), std::span(&out, 1), counts[owner], type, op);
      offset += counts[owner] * size_of(type);
    }
  };
  return hub_->meet(rank_,
                    data,
                    with_counts(signature_of(Kind::reduce_scatter, type, op), counts),
                    scatter,
                    deadline);
}

SyncStatus LoopbackGroup::all_gather(std::byte* data,
                                     std::span<const std::int64_t> counts,
                                     DataType type,
                                     Deadline deadline) {
  const auto gather = [=](std::span<std::byte* const> all) {
    std::int64_t offset = 0;
    for (std::size_t owner = 0; owner < all.size(); ++owner) {
      const std::int64_t bytes = counts[owner] * size_of(type);
      for (std::byte* other : all) {
        if (other != all[owner]) {
          copy_bytes(other + offset, all[owner] + offset, bytes);
        }
      }
      offset += bytes;
    }
  };
  return hub_->meet(
      rank_, data, with_counts(signature_of(Kind::all_gather, type), counts), gather, deadline);
}

SyncStatus LoopbackGroup::broadcast(std::byte* data,
                                    std::int64_t bytes,
                                    std::int64_t root,
                                    Deadline deadline) {
  const auto send = [=](std::span<std::byte* const> all) {
    const std::byte* source = all[static_cast<std::size_t>(root)];
    for (std::byte* other : all) {
      if (other != source) {
        copy_bytes(other, source, bytes);
      }
    }
  };
  return hub_->meet(rank_, data, signature_of(Kind::broadcast, bytes, root), send, deadline);
}

SyncStatus LoopbackGroup::exchange(std::span<const Send> sends,
                                   std::span<const Receive> receives,
                                   Deadline deadline) {
  return hub_->exchange(rank_, sends, receives, deadline);
}

SyncStatus LoopbackGroup::barrier(Deadline deadline) {
  return hub_->meet(
      rank_, nullptr, signature_of(Kind::barrier), [](std::span<std::byte* const>) {}, deadline);
}

}  // namespace runflat::exec
