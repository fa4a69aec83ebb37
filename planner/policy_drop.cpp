#include "planner/policy_family.hpp"

#include <algorithm>

namespace runflat::planner {

using sim::Operation;
using sim::SiteCensus;

Operation without_damaged_replicas(const PolicyRates& rates, const SiteCensus& census) {
  const std::int64_t replicas =
      std::min(rates.num_replicas, census.num_healthy / rates.sites_per_replica);
  Operation operation;
  operation.full_degree = rates.tp;
  if (rates.fixed_batch && replicas < rates.num_replicas) {
    return operation;
  }
  operation.throughput = static_cast<double>(replicas) / static_cast<double>(rates.num_replicas);
  operation.num_full_sites = replicas * rates.sites_per_replica;
  operation.num_spare_sites = std::clamp<std::int64_t>(
      num_sites(census) - rates.num_job_sites(), 0, census.num_healthy - operation.num_full_sites);
  return operation;
}

}  // namespace runflat::planner
