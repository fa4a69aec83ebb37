#pragma once

#include "sim/down_times.hpp"
#include "sim/fault_timeline.hpp"
#include "sim/sim_time.hpp"

#include <cstdint>
#include <vector>

namespace runflat::sim {

/// How many components of one level are down, as a step function of time over [0, duration).
class DownCount {
 public:
  /// `num_down` from `begin` to the next step's begin.
  struct Step {
    SimTime begin{};
    std::int32_t num_down = 0;

    friend bool operator==(const Step&, const Step&) = default;
  };

  /// Counts a GPU while any fault holds it, and a node or domain while any fault holds one of its
  /// GPUs. The timeline's duration and the level's number of components must be positive (`job` has
  /// none down ever).
  DownCount(const FaultTimeline& timeline, BlastRadius level);

  [[nodiscard]] std::int32_t num_components() const { return num_components_; }
  /// At least one step; the first begins at 0, and neighbours differ in `num_down`.
  [[nodiscard]] const std::vector<Step>& steps() const { return steps_; }

  [[nodiscard]] std::int32_t at(SimTime time) const;
  [[nodiscard]] DownTimes times() const;
  [[nodiscard]] double mean() const { return times().mean(); }
  [[nodiscard]] std::int32_t max() const { return times().max(); }
  [[nodiscard]] std::int32_t quantile(double q) const { return times().quantile(q); }
  [[nodiscard]] double fraction_above(double num_down) const {
    return times().fraction_above(num_down);
  }

  /// The same as an observer sees it who looks at time 0 and then every `interval`, and believes
  /// the last look in between.
  [[nodiscard]] DownCount sampled_every(SimTime interval) const;

 private:
  DownCount(std::vector<Step> steps, SimTime duration, std::int32_t num_components);

  std::vector<Step> steps_;
  SimTime duration_;
  std::int32_t num_components_;
};

}  // namespace runflat::sim
