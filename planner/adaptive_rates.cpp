#include "planner/adaptive_rates.hpp"

#include "planner/recovery_cost.hpp"
#include "planner/replica_time.hpp"

#include <algorithm>
#include <utility>

namespace runflat::planner {

Expected<PolicyRates, Infeasible> adaptive_rates(const Scenario& scenario) {
  const FaultRates failures = fault_rates(scenario);
  const sim::CheckpointSchedule checkpoint =
      checkpoint_schedule(PolicyKind::adaptive, scenario, failures);
  std::vector<Alternative> alternatives;
  for (const PolicyKind policy : kAllPolicies) {
    if (policy == PolicyKind::adaptive) {
      continue;
    }
    auto rates = scenario_rates(policy, scenario);
    if (!rates) {
      return rates.error();
    }
    const sim::ChangeCost cost =
        change_costs(policy, scenario)[static_cast<std::size_t>(sim::Change::hardware_fault)];
    alternatives.push_back(
        {.policy = policy,
         .rates = std::move(rates).value(),
         .pause = sim::to_seconds(cost.pause),
         .lost_work = sim::to_seconds(cost.rolls_back ? checkpoint.interval / 2 : sim::SimTime{})});
  }
  PolicyRates rates = alternatives.front().rates;
  rates.alternatives = std::move(alternatives);
  rates.mean_time_to_event = Days{1.0 / std::max(failures.per_day(), 1e-9)};
  return rates;
}

}  // namespace runflat::planner
