#include "planner/loss_curve.hpp"

#include "core/error.hpp"
#include "sim/random.hpp"

#include <algorithm>
#include <numeric>

namespace runflat::planner {

double mean_loss(PolicyKind policy,
                 const PolicyRates& rates,
                 const sim::SiteShape& shape,
                 std::int64_t num_failed,
                 std::int64_t num_placements,
                 std::uint64_t seed,
                 std::int32_t gpus_per_failure) {
  require(gpus_per_failure >= 1, "a failure takes down a GPU");
  const std::int32_t num_blocks = shape.cluster.num_gpus() / gpus_per_failure;
  require(num_failed >= 0 && num_failed <= num_blocks, "more GPUs failed than there are");
  std::vector<std::int32_t> blocks(static_cast<std::size_t>(num_blocks));
  double loss = 0.0;
  for (std::int64_t placement = 0; placement < num_placements; ++placement) {
    sim::RandomStream stream(seed,
                             {.trial = static_cast<std::uint32_t>(placement),
                              .source = static_cast<std::uint32_t>(num_failed),
                              .purpose = sim::Purpose::placement});
    std::iota(blocks.begin(), blocks.end(), 0);
    sim::SitePool pool(shape);
    for (std::int64_t i = 0; i < num_failed; ++i) {  // a partial Fisher-Yates shuffle
      const auto left = static_cast<std::uint32_t>(num_blocks - i);
      const auto first = static_cast<std::size_t>(i);
      std::swap(blocks[first], blocks[first + stream.below(left)]);
      for (std::int32_t gpu = 0; gpu < gpus_per_failure; ++gpu) {
        pool.fail({.component = blocks[first] * gpus_per_failure + gpu,
                   .blast_radius = sim::BlastRadius::gpu});
      }
    }
    loss += 1.0 - plan_operation(policy, rates, pool.census()).throughput;
  }
  return loss / static_cast<double>(num_placements);
}

}  // namespace runflat::planner
