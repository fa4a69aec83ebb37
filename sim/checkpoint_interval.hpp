#pragma once

#include "core/units.hpp"

namespace runflat::sim {

/// Young's time between checkpoints (Comm. ACM 17, 1974): sqrt(2 C M) for checkpoints that block
/// for C and failures a mean time M apart. Both spans must be positive.
[[nodiscard]] Seconds young_interval(Seconds checkpoint_cost, Seconds mtbf);

/// Daly's work between checkpoints (Future Generation Computer Systems 22, 2006, eq. 37), the
/// higher order estimate: sqrt(2 C M) (1 + sqrt(C / 2M) / 3 + (C / 2M) / 9) - C, and M where C >= 2
/// M. Both spans must be positive.
[[nodiscard]] Seconds daly_interval(Seconds checkpoint_cost, Seconds mtbf);

/// The terms of Meta's estimate of the effective training time ratio.
struct RestartCosts {
  Seconds mtbf{};                 ///< of the whole job: 1 / (N r_f)
  Seconds restart{};              ///< u0: from the failure to training again
  Seconds checkpoint_interval{};  ///< dt
  Seconds checkpoint_cost{};      ///< w: how long a checkpoint blocks
};

/// (1 - (u0 + dt / 2) / MTBF) / (1 + w / dt), no less than 0: "Revisiting Reliability in
/// Large-Scale Machine Learning Research Clusters" (arXiv 2410.21680). First order in the failure
/// rate. The mtbf and the interval must be positive.
[[nodiscard]] double expected_training_time_ratio(const RestartCosts& costs);

}  // namespace runflat::sim
