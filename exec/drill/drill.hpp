#pragma once

#include "exec/drill/loopback_job.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace runflat::exec {

/// A campaign of random faults against a job, in runs with a few faults each.
struct DrillConfig {
  std::vector<InjectedFault> faults{};  ///< these, in one run, instead of random ones
  std::int64_t num_faults = 200;        ///< that strike
  std::int64_t most_per_run = 3;
  std::uint64_t seed = 1;
  double tolerance = 1e-5;       ///< of losses, relative to the run that was planned so
  double calm_tolerance = 1e-5;  ///< and to the undisturbed one
};

struct DrillRow {
  std::int64_t run = 0;
  FaultRecord fault;
  std::int64_t steps_lost = 0;  ///< committed steps that had to be taken again
  std::string how;              ///< what the run made of it, for a person
};

struct DrillReport {
  std::vector<DrillRow> rows;
  std::int64_t num_runs = 0;
  std::int64_t num_stopped = 0;  ///< runs that ended early, for a reason
  /// Largest relative difference of a loss: from the run in which the same GPUs left and came back
  /// at the same steps by plan, and from the undisturbed run.
  double worst_from_planned = 0.0;
  double worst_from_calm = 0.0;
  /// What must not happen: a run that hangs, a step that is missing, losses that differ. Empty, or
  /// one line each.
  std::vector<std::string> broken;
};

/// Runs `job` again and again, without the faults it has, and compares each run with two that have
/// none: one that is planned with the same GPUs missing from the same steps on, and one that has
/// all GPUs, whose losses are those of any plan that trains on, as the global batch stays the same
/// whoever is lost.
[[nodiscard]] DrillReport run_drill(const LoopbackJob& job,
                                    const DrillConfig& config,
                                    const SampleSource& data);

}  // namespace runflat::exec
