#include "planner/policy.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace runflat::planner {
namespace {

using sim::Operation;
using sim::SiteCensus;

std::int64_t num_sites(const SiteCensus& census) {
  return census.num_healthy + census.num_damaged();
}

/// All or nothing: the job runs at the full degree on healthy sites, or waits.
Operation on_healthy_sites(const PolicyRates& rates, const SiteCensus& census) {
  Operation operation;
  operation.full_degree = rates.tp;
  if (census.num_healthy >= rates.num_job_sites()) {
    operation.throughput = 1.0;
    operation.num_full_sites = rates.num_job_sites();
    operation.num_spare_sites = census.num_healthy - rates.num_job_sites();
  }
  return operation;
}

Operation without_damaged_replicas(const PolicyRates& rates, const SiteCensus& census) {
  const std::int64_t replicas =
      std::min(rates.num_replicas, census.num_healthy / rates.sites_per_replica);
  Operation operation;
  operation.full_degree = rates.tp;
  operation.throughput = static_cast<double>(replicas) / static_cast<double>(rates.num_replicas);
  operation.num_full_sites = replicas * rates.sites_per_replica;
  operation.num_spare_sites = std::clamp<std::int64_t>(
      num_sites(census) - rates.num_job_sites(), 0, census.num_healthy - operation.num_full_sites);
  return operation;
}

/// The fastest layout with one TP degree for all and as many replicas as fit; the largest degree
/// among equals.
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
    if (throughput <= best.throughput) {
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

/// For every number of GPUs that a site may have left, the degree that gives a replica of such
/// sites its largest batch, never below `lowest`; 0 where none can run.
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

struct ReducedReplicas {
  std::vector<std::int32_t> degrees;  ///< 0: the replica is dropped
  double throughput = 0.0;            ///< of the whole job
};

/// The best degrees for replicas whose worst sites have `num_left` GPUs. The smallest degree in use
/// slows every replica, so that leaving out the worst ones can be faster.
ReducedReplicas choose_degrees(const PolicyRates& rates,
                               const std::vector<std::int32_t>& num_left) {
  const auto num_replicas = static_cast<double>(rates.num_replicas);
  const double full = num_replicas - static_cast<double>(num_left.size());
  ReducedReplicas best{.degrees = std::vector<std::int32_t>(num_left.size(), 0),
                       .throughput = full / num_replicas};
  for (std::int32_t lowest = rates.tp - 1; lowest >= 1 && !num_left.empty(); --lowest) {
    if (rates.reduced[static_cast<std::size_t>(lowest)].share <= 0.0) {
      continue;
    }
    const std::vector<std::int32_t> degree_for = best_degrees(rates, lowest);
    double batch = full;
    for (const std::int32_t left : num_left) {
      const std::int32_t degree = degree_for[static_cast<std::size_t>(left)];
      batch += degree > 0 ? rates.reduced[static_cast<std::size_t>(degree)].share : 0.0;
    }
    const double slowdown = rates.healthy_slowdown[static_cast<std::size_t>(lowest)];
    const double throughput = batch / num_replicas / slowdown;
    if (throughput > best.throughput) {
      best.throughput = throughput;
      std::transform(num_left.begin(), num_left.end(), best.degrees.begin(), [&](auto left) {
        return degree_for[static_cast<std::size_t>(left)];
      });
    }
  }
  return best;
}

/// Without any reduced replica this is the operation of dp_drop.
Operation nonuniform(const PolicyRates& rates, const SiteCensus& census) {
  const std::int64_t extra = num_sites(census) - rates.num_job_sites();
  require(extra >= 0, "a census is of all sites of the job");
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

}  // namespace

std::string_view to_string(PolicyKind policy) {
  switch (policy) {
    case PolicyKind::restart:
      return "restart";
    case PolicyKind::spare_domain:
      return "spare_domain";
    case PolicyKind::dp_drop:
      return "dp_drop";
    case PolicyKind::uniform_tp:
      return "uniform_tp";
    case PolicyKind::ntp:
      return "ntp";
    case PolicyKind::ntp_pw:
      return "ntp_pw";
  }
  return {};
}

Operation plan_operation(PolicyKind policy, const PolicyRates& rates, const SiteCensus& census) {
  switch (policy) {
    case PolicyKind::restart:
    case PolicyKind::spare_domain:
      return on_healthy_sites(rates, census);
    case PolicyKind::dp_drop:
      return without_damaged_replicas(rates, census);
    case PolicyKind::uniform_tp:
      return at_uniform_degree(rates, census);
    case PolicyKind::ntp:
    case PolicyKind::ntp_pw:
      return nonuniform(rates, census);
  }
  return {};
}

std::int64_t spares_needed(PolicyKind policy, const PolicyRates& rates, const SiteCensus& census) {
  const std::int64_t damaged = census.num_damaged();
  switch (policy) {
    case PolicyKind::restart:
    case PolicyKind::spare_domain:
    case PolicyKind::dp_drop:
    case PolicyKind::uniform_tp:
      return damaged;
    case PolicyKind::ntp:
    case PolicyKind::ntp_pw: {
      const std::int64_t per_replica = rates.sites_per_replica;
      const std::vector<std::int32_t> degree_for = best_degrees(rates, 1);
      double missing = 0.0;
      for (std::int64_t first = 0; first < damaged; first += per_replica) {
        const std::int32_t left = rates.tp - census.num_lost[static_cast<std::size_t>(first)];
        const std::int32_t degree = degree_for[static_cast<std::size_t>(left)];
        missing += 1.0 - (degree > 0 ? rates.reduced[static_cast<std::size_t>(degree)].share : 0.0);
      }
      constexpr double kNoise = 1e-9;
      const auto replicas = static_cast<std::int64_t>(std::ceil(missing - kNoise));
      return std::min(damaged, replicas * per_replica);
    }
  }
  return 0;
}

}  // namespace runflat::planner
