#pragma once

#include "core/error.hpp"
#include "sim/sim_time.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace runflat::sim {

/// The pending events of a simulation, given back in the order of (time, push): events of equal
/// time leave in the order in which they came, so a run is a function of its inputs.
///
/// A radix heap (Ahuja, Mehlhorn, Orlin, Tarjan, J. ACM 37, 1990): simulated time never goes back,
/// so bucket i holds the events whose time first differs from the present one in bit i - 1, and an
/// event moves only towards bucket 0, at most 64 times and about log2(pending) times in practice. A
/// move keeps the order within a bucket, and events of equal time are always in the same bucket,
/// hence the tie-break. Buckets keep their memory: no allocation for each event.
///
/// `Event` is a small value; to cancel one, let it carry a generation and ignore it when it is old.
template <typename Event>
class EventQueue {
 public:
  struct Entry {
    SimTime time{};
    Event event{};
  };

  explicit EventQueue(SimTime start = SimTime::zero()) : now_(start) {}

  /// The time of the latest event popped, or the start.
  [[nodiscard]] SimTime now() const { return now_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }

  /// Throws InvalidArgument when `time` lies before now().
  void push(SimTime time, Event event) {
    if (time < now_) {
      require(false, "an event must not happen before the present one");
    }
    insert({time, std::move(event)});
    ++size_;
  }

  /// Removes and returns the next event if it happens no later than `end`, and moves now() to it;
  /// otherwise changes nothing.
  [[nodiscard]] std::optional<Entry> pop_until(SimTime end) {
    std::vector<Entry>& present = buckets_.front();
    if (next_ == present.size() && !advance(end)) {
      return std::nullopt;
    }
    if (now_ > end) {
      return std::nullopt;
    }
    Entry entry = std::move(present[next_++]);
    --size_;
    return entry;
  }

  /// As pop_until, whenever the next event happens.
  [[nodiscard]] std::optional<Entry> pop() { return pop_until(kNever); }

 private:
  [[nodiscard]] std::size_t bucket_of(SimTime time) const {
    const auto difference = static_cast<std::uint64_t>(time.count() ^ now_.count());
    return static_cast<std::size_t>(std::bit_width(difference));
  }

  /// Moves now() to the earliest event after bucket 0 and those of its time to bucket 0; false when
  /// there is none, or it is later than `end`.
  bool advance(SimTime end) {
    if (occupied_ == 0) {
      return false;
    }
    const auto lowest = static_cast<std::size_t>(std::countr_zero(occupied_)) + 1;
    std::vector<Entry>& source = buckets_[lowest];
    const auto earliest =
        std::min_element(source.begin(), source.end(), [](const Entry& a, const Entry& b) {
          return a.time < b.time;
        });
    if (earliest->time > end) {
      return false;
    }
    buckets_.front().clear();
    next_ = 0;
    now_ = earliest->time;
    occupied_ &= occupied_ - 1;
    for (Entry& entry : source) {
      insert(std::move(entry));
    }
    source.clear();
    return true;
  }

  void insert(Entry entry) {
    const std::size_t bucket = bucket_of(entry.time);
    buckets_[bucket].push_back(std::move(entry));
    if (bucket > 0) {
      occupied_ |= std::uint64_t{1} << (bucket - 1);
    }
  }

  std::array<std::vector<Entry>, 65> buckets_;  // bucket 0: the events of the time now_
  std::size_t next_ = 0;                        // of bucket 0
  std::uint64_t occupied_ = 0;                  // bit i: bucket i + 1 is not empty
  std::size_t size_ = 0;
  SimTime now_;
};

/// Takes the events up to and including time `end` one by one and calls
/// `handle(time, event, queue)`, which may push more. Returns how many it took.
template <typename Event, typename Handler>
std::int64_t run_events(EventQueue<Event>& queue, SimTime end, Handler&& handle) {
  std::int64_t num_events = 0;
  while (auto entry = queue.pop_until(end)) {
    handle(entry->time, std::move(entry->event), queue);
    ++num_events;
  }
  return num_events;
}

}  // namespace runflat::sim
