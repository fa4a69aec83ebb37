#include "core/error.hpp"
#include "planner/policy_family.hpp"

#include <algorithm>
#include <utility>

namespace runflat::planner {

using sim::Operation;
using sim::SiteCensus;

std::vector<std::int32_t> best_degrees(const PolicyRates& rates, std::int32_t lowest) {
  const auto share = [&](std::int32_t degree) {
    return degree == 0 ? 0.0 : rates.reduced[static_cast<std::size_t>(degree)].share;
  };
  std::vector<std::int32_t> best(static_cast<std::size_t>(rates.tp) + 1, 0);
  for (std::int32_t degree = lowest; degree <= rates.tp; ++degree) {
    const std::int32_t below = best[static_cast<std::size_t>(degree) - 1];
    const bool better = share(degree) > 0.0 && share(degree) >= share(below);
    best[static_cast<std::size_t>(degree)] = better ? degree : below;
  }
  return best;
}

namespace {

struct ReducedReplicas {
  std::vector<std::int32_t> degrees;  ///< 0: the replica is dropped
  double throughput = 0.0;            ///< of the whole job
  double worth = 0.0;                 ///< throughput in the time that interruptions leave
};

ReducedReplicas make_reduced(const PolicyRates& rates,
                             std::vector<std::int32_t> degrees,
                             double slowdown) {
  const auto num_full = rates.num_replicas - static_cast<std::int64_t>(degrees.size());
  auto batch = static_cast<double>(num_full);
  std::int64_t num_active = num_full * rates.tp;  // of one site of every replica
  for (const std::int32_t degree : degrees) {
    batch += degree > 0 ? rates.reduced[static_cast<std::size_t>(degree)].share : 0.0;
    num_active += degree;
  }
  const double throughput = batch / static_cast<double>(rates.num_replicas) / slowdown;
  const double left = rates.interruptions.time_left(num_active * rates.sites_per_replica);
  return {.degrees = std::move(degrees), .throughput = throughput, .worth = throughput * left};
}

/// The best degrees for replicas whose worst sites have `num_left` GPUs. The smallest degree in use
/// slows every replica, so that leaving out the worst ones can be faster.
ReducedReplicas choose_degrees(const PolicyRates& rates,
                               const std::vector<std::int32_t>& num_left) {
  ReducedReplicas best = make_reduced(rates, std::vector<std::int32_t>(num_left.size(), 0), 1.0);
  for (std::int32_t lowest = rates.tp - 1; lowest >= 1 && !num_left.empty(); --lowest) {
    if (rates.reduced[static_cast<std::size_t>(lowest)].share <= 0.0) {
      continue;
    }
    const std::vector<std::int32_t> degree_for = best_degrees(rates, lowest);
    std::vector<std::int32_t> degrees;
    for (const std::int32_t left : num_left) {
      degrees.push_back(degree_for[static_cast<std::size_t>(left)]);
    }
    ReducedReplicas reduced = make_reduced(
        rates, std::move(degrees), rates.healthy_slowdown[static_cast<std::size_t>(lowest)]);
    if (reduced.worth > best.worth) {
      best = std::move(reduced);
    }
  }
  return best;
}

/// The smallest degree of the replicas that run.
std::int32_t lowest_degree(const PolicyRates& rates, const Operation& operation) {
  std::int32_t lowest = rates.tp;
  for (const std::int32_t degree : operation.damaged_degrees) {
    lowest = degree > 0 ? std::min(lowest, degree) : lowest;
  }
  return lowest;
}

/// With the fewest additional replicas that keep the batch whole.
Operation with_whole_batch(const PolicyRates& rates, const SiteCensus& census) {
  PolicyRates larger = rates;
  larger.fixed_batch = false;
  larger.healthy_slowdown.assign(rates.healthy_slowdown.size(), 1.0);  // the batch comes first
  larger.interruptions = {};
  for (; larger.num_job_sites() <= num_sites(census); ++larger.num_replicas) {
    Operation operation = nonuniform(larger, census);
    const double batch = operation.throughput * static_cast<double>(larger.num_replicas);
    constexpr double kNoise = 1e-9;
    if (batch >= static_cast<double>(rates.num_replicas) - kNoise) {
      const auto lowest = static_cast<std::size_t>(lowest_degree(rates, operation));
      operation.throughput = 1.0 / rates.healthy_slowdown[lowest];
      return operation;
    }
  }
  return {.full_degree = rates.tp};
}

}  // namespace

Operation nonuniform(const PolicyRates& rates, const SiteCensus& census) {
  const std::int64_t extra = num_sites(census) - rates.num_job_sites();
  require(extra >= 0, "a census is of all sites of the job");
  if (rates.fixed_batch) {
    return with_whole_batch(rates, census);
  }
  // Sites beyond the job's: the worst damaged ones stay out first, then healthy ones are spares.
  const std::int64_t left_out = std::min(extra, census.num_damaged());
  const std::int64_t per_replica = rates.sites_per_replica;
  const std::int64_t num_groups = (census.num_damaged() - left_out + per_replica - 1) / per_replica;
  std::vector<std::int32_t> num_left;
  for (std::int64_t group = 0; group < num_groups; ++group) {
    const auto worst = static_cast<std::size_t>(left_out + group * per_replica);
    num_left.push_back(rates.tp - census.num_lost[worst]);
  }
  const ReducedReplicas reduced = choose_degrees(rates, num_left);
  Operation operation;
  operation.throughput = reduced.throughput;
  operation.full_degree = rates.tp;
  operation.num_spare_sites = extra - left_out;
  operation.num_full_sites = (rates.num_replicas - num_groups) * per_replica;
  operation.damaged_degrees.assign(census.num_lost.size(), 0);
  for (std::int64_t group = 0; group < num_groups; ++group) {
    const std::int32_t degree = reduced.degrees[static_cast<std::size_t>(group)];
    const std::int64_t first = left_out + group * per_replica;
    const std::int64_t end = std::min(first + per_replica, census.num_damaged());
    std::fill(
        operation.damaged_degrees.begin() + first, operation.damaged_degrees.begin() + end, degree);
    if (degree > 0) {  // the last replica is filled up with healthy sites
      operation.filler_degrees.assign(static_cast<std::size_t>(first + per_replica - end), degree);
    }
  }
  return operation;
}

}  // namespace runflat::planner
