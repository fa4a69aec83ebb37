#pragma once

#include "core/injected_fault.hpp"
#include "core/units.hpp"

#include <cstdint>
#include <optional>

namespace runflat {

/// What random faults are drawn from.
struct FaultRange {
  std::int64_t num_ranks = 1;
  std::int64_t num_steps = 1;
  std::optional<Seconds> most_time{};  ///< at a time up to this one, instead of a step
  std::int64_t num_ops = 16;           ///< about as many as a rank's schedule has
  std::int64_t num_stages = 1;         ///< virtual ones of a rank
  double hang_seconds = 1.0;           ///< longer than whatever notices it
};

/// The `number`-th fault of a seed: a pure function, the same on every platform. One in eight
/// strikes during a transition; half of the processes that end come back. Times are whole
/// milliseconds.
[[nodiscard]] InjectedFault random_fault(std::uint64_t seed,
                                         std::int64_t number,
                                         const FaultRange& range);

/// The time between the `number`-th fault of a seed and the one before, exponential with this mean.
[[nodiscard]] Seconds random_gap(std::uint64_t seed, std::int64_t number, Seconds mean);

}  // namespace runflat
