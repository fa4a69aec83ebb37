#pragma once

#include "core/error.hpp"
#include "core/units.hpp"

#include <chrono>
#include <cstdint>

namespace runflat::sim {

/// Every simulated instant and span: whole milliseconds, so that sums are exact and two runs agree
/// to the bit. Instant zero is the start of the job.
using SimTime = std::chrono::duration<std::int64_t, std::milli>;

/// Later than anything that happens: the end of a fault that is never repaired.
inline constexpr SimTime kNever = SimTime::max();

/// Nearest millisecond, ties away from zero; beyond +-292 million years it saturates to kNever or
/// -kNever. Throws InvalidArgument on NaN.
template <typename Period>
[[nodiscard]] constexpr SimTime to_sim_time(std::chrono::duration<double, Period> span) {
  using Milliseconds = std::chrono::duration<double, std::milli>;
  const double count = Milliseconds{span}.count();
  if (count != count) {
    require(false, "a time must not be NaN");
  }
  constexpr double kLimit = 9.2e18;  // below 2^63
  if (count >= kLimit) {
    return kNever;
  }
  if (count <= -kLimit) {
    return -kNever;
  }
  auto whole = static_cast<std::int64_t>(count);  // towards zero
  const double rest = count - static_cast<double>(whole);
  whole += (rest >= 0.5 ? 1 : 0) - (rest <= -0.5 ? 1 : 0);
  return SimTime{whole};
}

/// Never later than kNever; `span` is at least zero.
[[nodiscard]] constexpr SimTime add_span(SimTime time, SimTime span) {
  return time > kNever - span ? kNever : time + span;
}

[[nodiscard]] constexpr Seconds to_seconds(SimTime time) {
  return Seconds{time};
}
[[nodiscard]] constexpr Hours to_hours(SimTime time) {
  return Hours{time};
}
[[nodiscard]] constexpr Days to_days(SimTime time) {
  return Days{time};
}

}  // namespace runflat::sim
