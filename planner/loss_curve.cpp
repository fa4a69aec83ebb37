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
                 std::uint64_t seed) {
  const std::int32_t num_gpus = shape.cluster.num_gpus();
  require(num_failed >= 0 && num_failed <= num_gpus, "more GPUs failed than there are");
  std::vector<std::int32_t> gpus(static_cast<std::size_t>(num_gpus));
  double loss = 0.0;
  for (std::int64_t placement = 0; placement < num_placements; ++placement) {
    sim::RandomStream stream(seed,
                             {.trial = static_cast<std::uint32_t>(placement),
                              .source = static_cast<std::uint32_t>(num_failed),
                              .purpose = sim::Purpose::placement});
    std::iota(gpus.begin(), gpus.end(), 0);
    sim::SitePool pool(shape);
    for (std::int64_t i = 0; i < num_failed; ++i) {  // a partial Fisher-Yates shuffle
      const auto left = static_cast<std::uint32_t>(num_gpus - i);
      const auto first = static_cast<std::size_t>(i);
      std::swap(gpus[first], gpus[first + stream.below(left)]);
      pool.fail({.component = gpus[first], .blast_radius = sim::BlastRadius::gpu});
    }
    loss += 1.0 - plan_operation(policy, rates, pool.census()).throughput;
  }
  return loss / static_cast<double>(num_placements);
}

}  // namespace runflat::planner
