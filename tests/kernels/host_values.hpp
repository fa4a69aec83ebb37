#pragma once

#include "kernels/host_dispatch.hpp"
#include "tests/dice.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace runflat::tests {

/// A number of [-scale, scale].
[[nodiscard]] inline double random_value(Dice& dice, double scale = 1.0) {
  return scale * static_cast<double>(dice.between(-1'000'000, 1'000'000)) * 1e-6;
}

[[nodiscard]] inline std::vector<double> random_values(Dice& dice,
                                                       std::int64_t num,
                                                       double scale = 1.0) {
  std::vector<double> out(static_cast<std::size_t>(num));
  for (double& value : out) {
    value = random_value(dice, scale);
  }
  return out;
}

template <typename To, typename From>
[[nodiscard]] std::vector<To> converted(const std::vector<From>& values) {
  std::vector<To> out;
  out.reserve(values.size());
  for (const From& value : values) {
    out.push_back(static_cast<To>(static_cast<kernels::Accumulate<To>>(value)));
  }
  return out;
}

[[nodiscard]] inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += a.at(i) * b.at(i);
  }
  return sum;
}

/// The largest difference of two vectors' elements; NaN where one is.
[[nodiscard]] inline double max_difference(const std::vector<double>& a,
                                           const std::vector<double>& b) {
  double out = a.size() == b.size() ? 0.0 : NAN;
  for (std::size_t i = 0; i < a.size() && !std::isnan(out); ++i) {
    const double difference = std::abs(a.at(i) - b.at(i));
    out = std::isnan(difference) ? difference : std::max(out, difference);
  }
  return out;
}

/// The gradient of f() with respect to x, by central differences: the error is of the order of
/// step^2 and of 1e-16 / step.
template <typename F>
[[nodiscard]] std::vector<double> central_differences(std::vector<double>& x, F f) {
  constexpr double kStep = 1e-5;
  std::vector<double> out;
  for (double& element : x) {
    const double at = element;
    element = at + kStep;
    const double above = f();
    element = at - kStep;
    const double below = f();
    element = at;
    out.push_back((above - below) / (2 * kStep));
  }
  return out;
}
inline constexpr double kDifferencesError = 1e-8;

}  // namespace runflat::tests
