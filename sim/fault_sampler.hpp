#pragma once

#include "sim/failure_model.hpp"
#include "sim/fault_timeline.hpp"
#include "sim/sim_time.hpp"

#include <cstdint>

namespace runflat::sim {

/// What fails in trial number `trial_number`: a pure function of its arguments, so every policy and
/// any number of threads see the same faults. Arrivals, targets and repairs of each class draw from
/// streams of their own: another repair law keeps when and where things fail, another rate of one
/// class keeps the other classes, and a larger `scale` compresses the same arrivals. Batches,
/// recurrences, silence and node rates draw from further streams, so without them nothing changes.
///
/// Faults arrive from -warm_up to `duration` and those repaired by time 0, or found only after the
/// end, are left out. Maintenance has the class indices after those of the classes. Throws
/// InvalidArgument for a negative or infinite rate, a shape outside [0.05, 1000], components that
/// always fail again, or more than 1e8 faults expected.
[[nodiscard]] FaultTimeline sample_faults(const FailureModel& model,
                                          const ClusterShape& shape,
                                          SimTime duration,
                                          std::uint64_t seed,
                                          std::uint32_t trial_number);

}  // namespace runflat::sim
