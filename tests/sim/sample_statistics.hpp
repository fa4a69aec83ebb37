#pragma once

#include <cmath>
#include <vector>

namespace runflat::sim {

/// Mean of independent observations and the standard error of that mean.
struct Estimate {
  double mean = 0.0;
  double standard_error = 0.0;

  /// Within five standard errors: a right value fails for two of a million seeds.
  [[nodiscard]] bool agrees_with(double expected, double slack = 0.0) const {
    return std::abs(mean - expected) <= 5.0 * standard_error + slack;
  }
};

[[nodiscard]] inline Estimate estimate(const std::vector<double>& observations) {
  const auto num = static_cast<double>(observations.size());
  double sum = 0.0;
  for (const double x : observations) {
    sum += x;
  }
  const double mean = sum / num;
  double squares = 0.0;
  for (const double x : observations) {
    squares += (x - mean) * (x - mean);
  }
  return {mean, std::sqrt(squares / (num - 1.0) / num)};
}

}  // namespace runflat::sim
