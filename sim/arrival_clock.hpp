#pragma once

#include "core/units.hpp"
#include "sim/failure_process.hpp"
#include "sim/random.hpp"

#include <cstddef>
#include <vector>

namespace runflat::sim {

/// The gaps of an equilibrium Weibull renewal process with mean gap 1.
class UnitRenewal {
 public:
  explicit UnitRenewal(double shape);

  /// From the start to the first arrival: a uniform part of a length-biased gap, and the length-
  /// biased Weibull is scale x Gamma(1 + 1/k)^(1/k).
  [[nodiscard]] double first(RandomStream& stream) const;
  [[nodiscard]] double next(RandomStream& stream) const;

 private:
  [[nodiscard]] double power(double x) const;

  double shape_;
  double scale_;
};

/// Takes arrivals through time at a rate that steps. `steps` must outlive the clock.
class ArrivalClock {
 public:
  explicit ArrivalClock(const std::vector<RateStep>& steps) : steps_(&steps) {}

  /// The time when `gap` of operational time has passed since `at`, which never goes back.
  [[nodiscard]] Days advance(Days at, Days gap);

 private:
  const std::vector<RateStep>* steps_;
  std::size_t next_ = 0;
  double factor_ = 1.0;
};

}  // namespace runflat::sim
