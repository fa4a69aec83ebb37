#include "planner/adaptive_rates.hpp"

#include "planner/replica_time.hpp"

#include <utility>

namespace runflat::planner {

Expected<PolicyRates, Infeasible> adaptive_rates(const Scenario& scenario,
                                                 const FaultRates& faults) {
  std::vector<Alternative> alternatives;
  for (const PolicyKind policy : kAllPolicies) {
    if (policy == PolicyKind::adaptive) {
      continue;
    }
    auto rates = scenario_rates(policy, scenario, faults);
    if (!rates) {
      return rates.error();
    }
    alternatives.push_back({.policy = policy, .rates = std::move(rates).value()});
  }
  PolicyRates rates = alternatives.front().rates;
  rates.alternatives = std::move(alternatives);
  return rates;
}

}  // namespace runflat::planner
