#pragma once

#include "planner/policy.hpp"
#include "sim/site_pool.hpp"

#include <cstdint>
#include <vector>

namespace runflat::planner {

/// The mean share of the healthy job's throughput that a policy loses when `num_failed` single
/// GPUs, placed uniformly over `shape.cluster`, are down; `num_placements` placements drawn from
/// `seed`. Every policy sees the same placements. A failure may take down `gpus_per_failure`
/// neighbours instead, a block of as many of the cluster's GPUs.
[[nodiscard]] double mean_loss(PolicyKind policy,
                               const PolicyRates& rates,
                               const sim::SiteShape& shape,
                               std::int64_t num_failed,
                               std::int64_t num_placements,
                               std::uint64_t seed,
                               std::int32_t gpus_per_failure = 1);

}  // namespace runflat::planner
