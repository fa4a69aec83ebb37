#pragma once

#include "core/units.hpp"
#include "sim/portable_math.hpp"

#include <cstdint>

namespace runflat::sim {

/// What stops a job, without memory: faults of its active GPUs, and what stops it whatever it uses.
struct Interruptions {
  double of_job_per_second = 0.0;  ///< software
  double per_gpu_second = 0.0;     ///< faults of one active GPU
  Seconds cost{};                  ///< of such a fault: detection, pause, work that is redone

  [[nodiscard]] double per_second(std::int64_t num_active_gpus) const {
    return of_job_per_second + per_gpu_second * static_cast<double>(num_active_gpus);
  }
  /// Share of the time that faults of active GPUs leave. At n of them a second and cost c, with a
  /// fault during c starting it again, a job is up for 1 / n and then down for (exp(n c) - 1) / n:
  ///   share = exp(-n c).
  [[nodiscard]] double time_left(std::int64_t num_active_gpus) const {
    return portable_exp(-per_gpu_second * cost.count() * static_cast<double>(num_active_gpus));
  }

  friend bool operator==(const Interruptions&, const Interruptions&) = default;
};

}  // namespace runflat::sim
