#pragma once

#include "core/error.hpp"
#include "core/units.hpp"
#include "planner/rates.hpp"
#include "planner/recovery_cost.hpp"
#include "planner/scenario.hpp"
#include "sim/step_query.hpp"
#include "sim/stragglers.hpp"

namespace runflat::planner {

/// What the cost model is asked about one replica of the scenario's job.
[[nodiscard]] sim::StepQuery step_query(const Scenario& scenario, const ReplicaQuery& replica);

/// Step times of one replica of the scenario's job by the cost model of sim, on the scenario's GPU
/// and software release; Infeasible too where the replica does not fit into memory.
[[nodiscard]] ReplicaTime make_replica_time(const Scenario& scenario);

/// A step of the healthy job; Infeasible where it cannot run.
[[nodiscard]] Expected<Seconds, Infeasible> healthy_step_time(const Scenario& scenario);

/// What a slow GPU and a slow network stretch: the exposed communication of the healthy job's step
/// is the network's share, all else waits for the slowest GPU.
[[nodiscard]] sim::StepShares step_shares(const Scenario& scenario);

/// Whether Megatron without NTP could run the scenario's model at a TP degree.
[[nodiscard]] UniformRule make_uniform_rule(const Scenario& scenario);

/// The rates of a policy on the scenario's job under `faults`: of reduced replicas, those that the
/// scenario lists where it lists any. Infeasible when the healthy job cannot run.
[[nodiscard]] Expected<PolicyRates, Infeasible> scenario_rates(PolicyKind policy,
                                                               const Scenario& scenario,
                                                               const FaultRates& faults);
/// Under the scenario's own failures.
[[nodiscard]] Expected<PolicyRates, Infeasible> scenario_rates(PolicyKind policy,
                                                               const Scenario& scenario);

}  // namespace runflat::planner
