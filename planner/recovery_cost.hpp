#pragma once

#include "core/units.hpp"
#include "planner/policy.hpp"
#include "planner/scenario.hpp"
#include "sim/job_life.hpp"

#include <array>

namespace runflat::planner {

/// What each change of a job costs under a policy, by sim::Change. Detection is apart.
/// In-place recovery takes quiesce + communicators (base + per_doubling log2 ranks) + state copy
/// (base + the state of one GPU / bandwidth) + warm-up; the other times are the scenario's.
/// A software fault kills every process and costs a restart from the checkpoint under every policy.
[[nodiscard]] std::array<sim::ChangeCost, sim::kNumChanges> change_costs(PolicyKind policy,
                                                                         const Scenario& scenario);

/// Weights, fp32 masters and both moments held by one GPU of the healthy job: 14 bytes a parameter.
[[nodiscard]] Bytes state_of_one_gpu(const Scenario& scenario);

/// How often faults that roll `policy` back happen, given what happens per day to the job's
/// hardware and software. Young's interval follows from it, within the scenario's bounds.
struct FaultRates {
  double hardware_per_day = 0.0;
  double software_per_day = 0.0;

  [[nodiscard]] double per_day() const { return hardware_per_day + software_per_day; }
};
/// Those of the scenario's failures.
[[nodiscard]] FaultRates fault_rates(const Scenario& scenario);

[[nodiscard]] sim::CheckpointSchedule checkpoint_schedule(PolicyKind policy,
                                                          const Scenario& scenario,
                                                          const FaultRates& rates);

}  // namespace runflat::planner
