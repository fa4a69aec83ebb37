#pragma once

#include "sim/fault_timeline.hpp"
#include "sim/sim_time.hpp"

#include <algorithm>
#include <compare>
#include <cstdint>
#include <span>
#include <vector>

namespace runflat::sim {

/// Where and when a silent corruption begins: the Fault that finds it has the same component and
/// radius, and `begin - silent_for` is this time.
struct Corruption {
  SimTime begin{};
  std::int32_t component = 0;
  BlastRadius blast_radius = BlastRadius::gpu;

  friend auto operator<=>(const Corruption&, const Corruption&) = default;
};

/// What begins in one span of a trial, each list in order. The windows of a trial follow one
/// another without a gap; the first one has all that begins before time 0, the warm-up. Cutting a
/// trial into other windows changes nothing.
struct FaultWindow {
  SimTime end{};  ///< all that begins before is in this window or in an earlier one
  std::span<const Fault> faults;
  std::span<const Slowdown> slowdowns;
  std::span<const Corruption> corruptions;
};

/// Takes what begins from a window in order of time.
class Beginnings {
 public:
  explicit Beginnings(const FaultWindow& window)
      : faults_(window.faults), slowdowns_(window.slowdowns), corruptions_(window.corruptions) {}

  /// kNever when there is nothing more.
  [[nodiscard]] SimTime next() const {
    return std::min({begin_of(faults_), begin_of(slowdowns_), begin_of(corruptions_)});
  }
  /// Calls `visit` with the next one.
  template <typename Visit>
  void take(const Visit& visit) {
    const SimTime time = next();
    if (begin_of(corruptions_) == time) {
      visit(take_from(corruptions_));
    } else if (begin_of(slowdowns_) == time) {
      visit(take_from(slowdowns_));
    } else {
      visit(take_from(faults_));
    }
  }

 private:
  template <typename Item>
  [[nodiscard]] static SimTime begin_of(std::span<const Item> items) {
    return items.empty() ? kNever : items.front().begin;
  }
  template <typename Item>
  static const Item& take_from(std::span<const Item>& items) {
    const Item& item = items.front();
    items = items.subspan(1);
    return item;
  }

  std::span<const Fault> faults_;
  std::span<const Slowdown> slowdowns_;
  std::span<const Corruption> corruptions_;
};

/// The corruptions that `faults` find, in order.
[[nodiscard]] std::vector<Corruption> corruptions_of(std::span<const Fault> faults);

/// A whole trial in one window that refers to both arguments.
[[nodiscard]] FaultWindow whole_window(const FaultTimeline& trial,
                                       std::span<const Corruption> corruptions);

}  // namespace runflat::sim
