#include "planner/policy_family.hpp"

#include <algorithm>

namespace runflat::planner {

using sim::Operation;
using sim::SiteCensus;

Operation at_uniform_degree(const PolicyRates& rates, const SiteCensus& census) {
  Operation best;
  for (std::int32_t degree = rates.tp; degree >= 1; --degree) {
    const auto usable_damaged =
        std::count_if(census.num_lost.begin(), census.num_lost.end(), [&](std::int32_t lost) {
          return lost <= rates.tp - degree;
        });
    const std::int64_t replicas = std::min(
        rates.num_replicas, (census.num_healthy + usable_damaged) / rates.sites_per_replica);
    const double throughput = rates.uniform[static_cast<std::size_t>(degree)] *
                              static_cast<double>(replicas) /
                              static_cast<double>(rates.num_replicas);
    const bool is_whole = replicas == rates.num_replicas;
    if (throughput <= best.throughput || (rates.fixed_batch && !is_whole)) {
      continue;
    }
    const std::int64_t in_use = replicas * rates.sites_per_replica;
    best.throughput = throughput;
    best.full_degree = degree;
    best.num_full_sites = std::min(census.num_healthy, in_use);
    best.num_spare_sites = std::clamp<std::int64_t>(
        num_sites(census) - rates.num_job_sites(), 0, census.num_healthy - best.num_full_sites);
    best.damaged_degrees.assign(census.num_lost.size(), 0);
    std::fill_n(best.damaged_degrees.rbegin(), in_use - best.num_full_sites, degree);
  }
  return best;
}

}  // namespace runflat::planner
