#pragma once

#include "sim/sim_time.hpp"

#include <cstdint>
#include <vector>

namespace runflat::sim {

/// How long how many components were down, whichever they were and whenever.
class DownTimes {
 public:
  void add(std::int32_t num_down, SimTime span);

  /// Of all time; the other questions are for a total above zero.
  [[nodiscard]] SimTime total() const { return total_; }
  /// Weighted by time.
  [[nodiscard]] double mean() const;
  /// Of what was added, for however short a time.
  [[nodiscard]] std::int32_t max() const { return static_cast<std::int32_t>(times_.size()) - 1; }
  /// The least number that is not exceeded for at least the fraction `q` of the time, 0 <= q <= 1.
  [[nodiscard]] std::int32_t quantile(double q) const;
  /// Fraction of the time with more than `num_down` down.
  [[nodiscard]] double fraction_above(double num_down) const;

 private:
  std::vector<std::int64_t> times_;  // milliseconds; index is the number
  SimTime total_{};
};

}  // namespace runflat::sim
