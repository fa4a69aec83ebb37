#pragma once

#include "planner/policy.hpp"
#include "tests/dice.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace runflat::planner {

/// One stage for every site of a replica, and shares that rise with the length.
[[nodiscard]] inline PipelineRates random_pipeline(tests::Dice& dice, std::int64_t per_replica) {
  PipelineRates pipeline{.num_stages = per_replica, .num_microbatches = dice.between(1, 12)};
  pipeline.bubble = 0.1 * static_cast<double>(dice.between(0, 80));
  double share = 0.0;
  for (std::int64_t length = 0; length < per_replica; ++length) {
    pipeline.shares.push_back(share);
    share = std::min(1.0, share + 0.05 * static_cast<double>(dice.between(0, 10)));
  }
  return pipeline;
}

/// Adaptive has the choice of all others, whose changes cost nothing.
inline void offer_all(PolicyRates& rates) {
  rates.alternatives.clear();
  std::vector<Alternative> alternatives;
  for (const PolicyKind policy : kAllPolicies) {
    if (policy != PolicyKind::adaptive) {
      alternatives.push_back({.policy = policy, .rates = rates});
    }
  }
  rates.alternatives = std::move(alternatives);
}

/// Any shares, but speeds that fall with the degree.
[[nodiscard]] inline PolicyRates random_rates(tests::Dice& dice,
                                              std::int32_t tp,
                                              std::int64_t per_replica) {
  PolicyRates rates{.tp = tp, .sites_per_replica = per_replica, .num_replicas = dice.between(1, 6)};
  const auto size = static_cast<std::size_t>(tp) + 1;
  rates.reduced.resize(size);
  rates.uniform.resize(size);
  rates.healthy_slowdown.assign(size, 1.0);
  const std::int64_t batch = dice.between(1, 12);
  double speed = 1.0;
  double slowdown = 1.0;
  for (std::size_t degree = size; degree-- > 1;) {
    const std::int64_t microbatches =
        degree + 1 == size ? batch : (dice.one_in(4) ? 0 : dice.between(0, batch));
    rates.reduced[degree] = {
        .num_microbatches = microbatches,
        .share = static_cast<double>(microbatches) / static_cast<double>(batch)};
    rates.uniform[degree] = degree + 1 == size || dice.one_in(2) ? speed : 0.0;
    rates.healthy_slowdown[degree] = slowdown;
    speed *= 1.0 - 0.01 * static_cast<double>(dice.between(0, 30));
    slowdown += 0.01 * static_cast<double>(dice.between(0, 10));
  }
  rates.pipeline = random_pipeline(dice, per_replica);
  offer_all(rates);
  return rates;
}

[[nodiscard]] inline PolicyRates random_rates(tests::Dice& dice) {
  const auto tp = static_cast<std::int32_t>(dice.between(1, 16));
  return random_rates(dice, tp, dice.between(1, 5));
}

}  // namespace runflat::planner
