#include "planner/confidence.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cmath>

namespace runflat::planner {

MeanInterval MeanInterval::of(const std::vector<double>& values) {
  require(!values.empty(), "an interval of nothing");
  const auto num = static_cast<double>(values.size());
  double sum = 0.0;
  for (const double value : values) {
    sum += value;
  }
  MeanInterval interval{.mean = sum / num, .half_width = {}};
  if (values.size() >= 2) {
    double squares = 0.0;
    for (const double value : values) {
      squares += (value - interval.mean) * (value - interval.mean);
    }
    const double standard_error = std::sqrt(squares / (num - 1.0) / num);
    interval.half_width =
        student_t_975(static_cast<std::int64_t>(values.size()) - 1) * standard_error;
  }
  return interval;
}

double student_t_975(std::int64_t degrees_of_freedom) {
  require(degrees_of_freedom >= 1, "Student's t has at least one degree of freedom");
  if (degrees_of_freedom == 1) {
    return 12.706204736432095;
  }
  if (degrees_of_freedom == 2) {
    return 4.302652729911275;
  }
  // Cornish and Fisher's expansion about the normal quantile (Abramowitz and Stegun 26.7.5).
  constexpr double z = 1.959963984540054;
  constexpr double z2 = z * z;
  constexpr double g1 = z * (z2 + 1.0) / 4.0;
  constexpr double g2 = z * ((5.0 * z2 + 16.0) * z2 + 3.0) / 96.0;
  constexpr double g3 = z * (((3.0 * z2 + 19.0) * z2 + 17.0) * z2 - 15.0) / 384.0;
  constexpr double g4 =
      z * ((((79.0 * z2 + 776.0) * z2 + 1482.0) * z2 - 1920.0) * z2 - 945.0) / 92160.0;
  const double u = 1.0 / static_cast<double>(degrees_of_freedom);
  return z + u * (g1 + u * (g2 + u * (g3 + u * g4)));
}

std::int64_t trials_wanted(const StopRule& rule,
                           std::int64_t num_done,
                           std::optional<double> widest) {
  require(rule.half_width > 0.0 && num_done >= 1, "a stop rule needs a width, and trials");
  if ((widest && *widest <= rule.half_width) || num_done >= rule.max_trials) {
    return num_done;
  }
  const std::int64_t most = std::min(rule.max_trials, 2 * num_done);
  if (!widest) {
    return most;
  }
  const double ratio = *widest / rule.half_width;
  const double wanted = std::ceil(static_cast<double>(num_done) * ratio * ratio);
  return wanted >= static_cast<double>(most)
             ? most
             : std::max(num_done + 1, static_cast<std::int64_t>(wanted));
}

}  // namespace runflat::planner
