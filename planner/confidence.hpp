#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace runflat::planner {

/// A mean with the half width of its 95 % confidence interval by Student's t, for values that are
/// independent of each other; fewer than two have none.
struct MeanInterval {
  double mean = 0.0;
  std::optional<double> half_width;

  [[nodiscard]] static MeanInterval of(const std::vector<double>& values);
  friend bool operator==(const MeanInterval&, const MeanInterval&) = default;
};

/// The 97.5 % quantile of Student's t, at least one degree of freedom; within 0.2 %.
[[nodiscard]] double student_t_975(std::int64_t degrees_of_freedom);

/// When a campaign has seen enough trials.
struct StopRule {
  double half_width = 1e-3;  ///< of every interval, at most
  std::int64_t max_trials = 10'000;
};

/// How many trials a campaign should have in all, after `num_done` of them left it with intervals
/// of which the widest is `widest` (none: unknown): `num_done` when that is enough or all that is
/// allowed, otherwise what the law of the square root asks for, at most twice as many.
[[nodiscard]] std::int64_t trials_wanted(const StopRule& rule,
                                         std::int64_t num_done,
                                         std::optional<double> widest);

}  // namespace runflat::planner
