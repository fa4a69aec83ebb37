#include "planner/policy_family.hpp"

#include <utility>

namespace runflat::planner {

sim::Operation best_of(const PolicyRates& rates, const sim::SiteCensus& census) {
  sim::Operation best;
  double best_value = 0.0;
  for (std::size_t i = 0; i < rates.alternatives.size(); ++i) {
    const Alternative& alternative = rates.alternatives[i];
    sim::Operation operation = plan_operation(alternative.policy, alternative.rates, census);
    const double value = operation.throughput *
                         alternative.rates.interruptions.time_left(operation.num_active_gpus());
    const bool runs = operation.throughput > 0.0;
    if (runs && (best.throughput <= 0.0 || value > best_value)) {
      best_value = value;
      best = std::move(operation);
      best.variant = static_cast<std::int32_t>(i);
    }
  }
  if (best.throughput <= 0.0) {
    best.full_degree = rates.tp;
  }
  return best;
}

}  // namespace runflat::planner
