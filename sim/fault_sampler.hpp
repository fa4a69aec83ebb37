#pragma once

#include "sim/failure_model.hpp"
#include "sim/fault_timeline.hpp"
#include "sim/sim_time.hpp"

#include <cstdint>

namespace runflat::sim {

/// All of a FaultStream at once: every policy and any number of threads see the same faults.
[[nodiscard]] FaultTimeline sample_faults(const FailureModel& model,
                                          const ClusterShape& shape,
                                          SimTime duration,
                                          std::uint64_t seed,
                                          std::uint32_t trial_number);

}  // namespace runflat::sim
