#include "planner/policy.hpp"

#include "planner/policy_family.hpp"

#include <algorithm>
#include <cmath>

namespace runflat::planner {

using sim::Operation;
using sim::SiteCensus;

namespace {

/// Spares of whole replicas for the batch that reduced replicas miss, if that is fewer.
std::int64_t spares_of_nonuniform(const PolicyRates& rates, const SiteCensus& census) {
  const std::int64_t damaged = census.num_damaged();
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
    case PolicyKind::recycle:
      return "recycle";
    case PolicyKind::oobleck:
      return "oobleck";
    case PolicyKind::train_mover:
      return "train_mover";
    case PolicyKind::adaptive:
      return "adaptive";
  }
  return {};
}

Operation plan_operation(PolicyKind policy, const PolicyRates& rates, const SiteCensus& census) {
  switch (policy) {
    case PolicyKind::restart:
    case PolicyKind::spare_domain:
    case PolicyKind::train_mover:
      return on_healthy_sites(rates, census);
    case PolicyKind::dp_drop:
      return without_damaged_replicas(rates, census);
    case PolicyKind::uniform_tp:
      return at_uniform_degree(rates, census);
    case PolicyKind::ntp:
    case PolicyKind::ntp_pw:
      return nonuniform(rates, census);
    case PolicyKind::recycle:
      return rerouted(rates, census);
    case PolicyKind::oobleck:
      return from_templates(rates, census);
    case PolicyKind::adaptive:
      return best_of(rates, census);
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
    case PolicyKind::oobleck:
    case PolicyKind::train_mover:
      return damaged;
    case PolicyKind::ntp:
    case PolicyKind::ntp_pw:
      return spares_of_nonuniform(rates, census);
    case PolicyKind::recycle:
      return std::max<std::int64_t>(0, damaged - num_rerouted_free(rates));
    case PolicyKind::adaptive: {
      std::int64_t fewest = damaged;
      for (const Alternative& alternative : rates.alternatives) {
        fewest = std::min(fewest, spares_needed(alternative.policy, alternative.rates, census));
      }
      return fewest;
    }
  }
  return 0;
}

}  // namespace runflat::planner
