#pragma once

#include "core/error.hpp"
#include "planner/policy.hpp"
#include "planner/scenario.hpp"

namespace runflat::planner {

/// What `adaptive` chooses from: every other policy with its rates and costs on this scenario, and
/// the mean time between the scenario's failures. Infeasible when the healthy job cannot run.
[[nodiscard]] Expected<PolicyRates, Infeasible> adaptive_rates(const Scenario& scenario);

}  // namespace runflat::planner
