#pragma once

#include "core/error.hpp"
#include "planner/policy.hpp"
#include "planner/recovery_cost.hpp"
#include "planner/scenario.hpp"

namespace runflat::planner {

/// What `adaptive` chooses from: every other policy with its rates and costs on this scenario under
/// these faults. Infeasible when the healthy job cannot run.
[[nodiscard]] Expected<PolicyRates, Infeasible> adaptive_rates(const Scenario& scenario,
                                                               const FaultRates& faults);

}  // namespace runflat::planner
