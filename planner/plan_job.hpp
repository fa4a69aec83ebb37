#pragma once

#include "core/cluster.hpp"
#include "core/error.hpp"
#include "core/plan.hpp"
#include "planner/policy.hpp"
#include "planner/scenario.hpp"

namespace runflat::planner {

/// The Plan of the scenario's job under a policy when `health` says what is down: the operation of
/// plan_operation on these very GPUs, placed so that the least state moves. With failures, the last
/// of its reasons is what it takes to get there from the plan without them. The plan's cluster has
/// the policy's spare domains after the scenario's own, and it keeps the rules of verify_plan.
/// Infeasible with what would help.
[[nodiscard]] Expected<Plan, Infeasible> plan_job(const Scenario& scenario,
                                                  PolicyKind policy,
                                                  const Health& health);

}  // namespace runflat::planner
