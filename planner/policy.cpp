#include "planner/policy.hpp"

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

Operation nonuniform(const PolicyRates& rates, const SiteCensus& census) {
  const std::int64_t missing = rates.num_job_sites() - num_sites(census);
  if (missing > 0) {
    return {};
  }
  // Sites beyond the job's: the worst damaged ones stay out first, then healthy ones are spares.
  const std::int64_t left_out = std::min(-missing, census.num_damaged());
  const std::int64_t in_use = census.num_damaged() - left_out;
  const std::int64_t per_replica = rates.sites_per_replica;
  const std::int64_t groups = (in_use + per_replica - 1) / per_replica;
  Operation operation;
  operation.full_degree = rates.tp;
  operation.num_spare_sites = -missing - left_out;
  operation.num_full_sites = (rates.num_replicas - groups) * per_replica;
  operation.damaged_degrees.assign(census.num_lost.size(), 0);
  double batch = static_cast<double>(rates.num_replicas - groups);
  std::int32_t lowest = rates.tp;
  for (std::int64_t group = 0; group < groups; ++group) {
    const std::int64_t first = left_out + group * per_replica;
    const std::int64_t end = std::min(first + per_replica, census.num_damaged());
    const std::int32_t degree = rates.tp - census.num_lost[static_cast<std::size_t>(first)];
    const DegreeRate& rate = rates.reduced[static_cast<std::size_t>(degree)];
    if (rate.num_microbatches == 0) {
      continue;  // the replica is dropped: its sites stay without a role
    }
    batch += rate.share;
    lowest = std::min(lowest, degree);
    std::fill(
        operation.damaged_degrees.begin() + first, operation.damaged_degrees.begin() + end, degree);
    operation.filler_degrees.assign(static_cast<std::size_t>(per_replica - (end - first)), degree);
  }
  operation.throughput = batch / static_cast<double>(rates.num_replicas) /
                         rates.healthy_slowdown[static_cast<std::size_t>(lowest)];
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
    case PolicyKind::ntp_pw: {
      // Without the damaged replicas the healthy ones need not reshard: sometimes that is faster.
      Operation reduced = nonuniform(rates, census);
      Operation dropped = without_damaged_replicas(rates, census);
      return reduced.throughput >= dropped.throughput ? reduced : dropped;
    }
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
      double missing = 0.0;
      for (std::int64_t first = 0; first < damaged; first += per_replica) {
        const std::int32_t degree = rates.tp - census.num_lost[static_cast<std::size_t>(first)];
        missing += 1.0 - rates.reduced[static_cast<std::size_t>(degree)].share;
      }
      constexpr double kNoise = 1e-9;
      const auto replicas = static_cast<std::int64_t>(std::ceil(missing - kNoise));
      return std::min(damaged, replicas * per_replica);
    }
  }
  return 0;
}

}  // namespace runflat::planner
