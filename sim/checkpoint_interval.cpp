#include "sim/checkpoint_interval.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cmath>

namespace runflat::sim {
namespace {

void require_positive(Seconds checkpoint_cost, Seconds mtbf) {
  require(checkpoint_cost > Seconds::zero() && mtbf > Seconds::zero(),
          "a checkpoint interval needs a positive cost and mtbf");
}

}  // namespace

Seconds young_interval(Seconds checkpoint_cost, Seconds mtbf) {
  require_positive(checkpoint_cost, mtbf);
  return Seconds{std::sqrt(2.0 * checkpoint_cost.count() * mtbf.count())};
}

Seconds daly_interval(Seconds checkpoint_cost, Seconds mtbf) {
  require_positive(checkpoint_cost, mtbf);
  const double share = checkpoint_cost / (2.0 * mtbf);
  if (share >= 1.0) {
    return mtbf;
  }
  return young_interval(checkpoint_cost, mtbf) * (1.0 + std::sqrt(share) / 3.0 + share / 9.0) -
         checkpoint_cost;
}

double expected_training_time_ratio(const RestartCosts& costs) {
  require(costs.mtbf > Seconds::zero() && costs.checkpoint_interval > Seconds::zero(),
          "an expected ratio needs a positive mtbf and interval");
  const double lost = (costs.restart + costs.checkpoint_interval / 2.0) / costs.mtbf;
  return std::max(0.0, 1.0 - lost) / (1.0 + costs.checkpoint_cost / costs.checkpoint_interval);
}

}  // namespace runflat::sim
