#include "planner/policy_family.hpp"

#include <algorithm>

namespace runflat::planner {
namespace {

/// With `lost` groups of each stage gone; 0 where a stage has none left.
double throughput_without(const PolicyRates& rates, std::int64_t lost) {
  if (lost >= rates.num_replicas) {
    return 0.0;
  }
  const std::int64_t batch = rates.pipeline.num_microbatches;
  const std::int64_t peers = rates.num_replicas - lost;
  const std::int64_t rerouted_to_each = (batch * lost + peers - 1) / peers;
  const double healthy = static_cast<double>(batch) + rates.pipeline.bubble;
  return healthy / std::max(healthy, static_cast<double>(batch + rerouted_to_each));
}

/// Groups that the job does without, of `fewest` to `most`.
std::int64_t best_missing(const PolicyRates& rates, std::int64_t fewest, std::int64_t most) {
  const std::int64_t per_replica = rates.sites_per_replica;
  const auto time_left = [&](std::int64_t missing) {
    return rates.interruptions.time_left((rates.num_job_sites() - missing) * rates.tp);
  };
  const double most_time_left = time_left(most);
  std::int64_t best = fewest;
  double best_worth = -1.0;
  for (std::int64_t missing = fewest; missing <= most;) {
    const std::int64_t lost = (missing + per_replica - 1) / per_replica;
    const double throughput = throughput_without(rates, lost);
    if (throughput * most_time_left <= best_worth) {
      break;  // more groups less, no more throughput
    }
    const double worth = throughput * time_left(missing);
    if (worth > best_worth) {
      best_worth = worth;
      best = missing;
    }
    // The next one that does without more: all that this many groups of a stage allow, then more.
    const std::int64_t allowed = std::min(lost * per_replica, most);
    missing = missing < allowed ? allowed : missing + 1;
  }
  return best;
}

}  // namespace

sim::Operation rerouted(const PolicyRates& rates, const sim::SiteCensus& census) {
  const std::int64_t extra = num_sites(census) - rates.num_job_sites();
  const std::int64_t fewest = std::max<std::int64_t>(0, census.num_damaged() - extra);
  const std::int64_t most = std::min(census.num_damaged(), rates.num_job_sites());
  const std::int64_t missing = best_missing(rates, fewest, std::max(fewest, most));
  const std::int64_t per_replica = rates.sites_per_replica;
  sim::Operation operation;
  operation.full_degree = rates.tp;
  operation.throughput = throughput_without(rates, (missing + per_replica - 1) / per_replica);
  if (operation.throughput > 0.0) {
    operation.num_full_sites = rates.num_job_sites() - missing;
    operation.num_spare_sites = census.num_healthy - operation.num_full_sites;
  }
  return operation;
}

std::int64_t num_rerouted_free(const PolicyRates& rates) {
  std::int64_t lost = 0;
  while (throughput_without(rates, lost + 1) >= 1.0) {
    ++lost;
  }
  return lost * rates.sites_per_replica;
}

}  // namespace runflat::planner
