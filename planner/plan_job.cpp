#include "planner/plan_job.hpp"

#include "core/transition.hpp"
#include "planner/placement.hpp"
#include "planner/recovery_cost.hpp"
#include "planner/replica_time.hpp"
#include "planner/verify.hpp"
#include "sim/site_pool.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <numeric>

namespace runflat::planner {
namespace {

/// Everything that the plan of one health state is made from.
struct Situation {
  const Scenario& scenario;
  PolicyKind policy;
  PolicyKind followed;  ///< that policy, or the one that adaptive chose
  ClusterSpec cluster;  ///< with the spare domains
  Health health;
  PolicyRates rates;
  std::vector<std::int32_t> num_lost;  ///< by site
  sim::Operation operation;
};

ClusterSpec cluster_with_spares(const Scenario& scenario, PolicyKind policy) {
  ClusterSpec cluster = scenario.cluster;
  const std::int64_t spares = scenario.spares_of(policy);
  cluster.num_nodes = scenario.shape_with_spares(spares).num_nodes;
  if (cluster.num_domains() % cluster.domains_per_rack != 0) {
    cluster.domains_per_rack = 1;
  }
  return cluster;
}

Situation assess(const Scenario& scenario,
                 PolicyKind policy,
                 const PolicyRates& rates,
                 const Health& health) {
  const sim::SiteShape shape = scenario.site_shape(policy);
  sim::SitePool pool(shape);
  for (const GpuId gpu : health.down()) {
    require(gpu.value() >= 0 && gpu.value() < shape.cluster.num_gpus(),
            fmt::format("gpu{} is not one of {}", gpu.value(), shape.cluster.num_gpus()));
    pool.fail({.component = static_cast<std::int32_t>(gpu.value()),
               .blast_radius = sim::BlastRadius::gpu});
  }
  Situation situation{.scenario = scenario,
                      .policy = policy,
                      .followed = policy,
                      .cluster = cluster_with_spares(scenario, policy),
                      .health = health,
                      .rates = rates,
                      .num_lost = {},
                      .operation = plan_operation(policy, rates, pool.census())};
  if (!rates.alternatives.empty()) {
    const auto& followed =
        rates.alternatives[static_cast<std::size_t>(situation.operation.variant)];
    situation.followed = followed.policy;
    situation.rates = followed.rates;
  }
  for (std::int32_t site = 0; site < shape.num_sites(); ++site) {
    situation.num_lost.push_back(pool.num_lost(site));
  }
  return situation;
}

Infeasible cannot_run(const Situation& situation) {
  const auto healthy = std::count(situation.num_lost.begin(), situation.num_lost.end(), 0);
  return Infeasible{fmt::format(
      "{} cannot run: the job needs {} TP groups, {} of {} sites are undamaged and {} spare "
      "domains "
      "are configured; repair GPUs, raise policies.{}.spare_domains, or choose another policy",
      to_string(situation.policy),
      situation.scenario.num_job_sites(),
      healthy,
      situation.num_lost.size(),
      situation.scenario.spares_of(situation.policy),
      to_string(situation.policy))};
}

/// The TP degrees of the replicas that are not at the full one.
std::vector<std::int32_t> reduced_degrees(const Situation& situation) {
  const sim::Operation& operation = situation.operation;
  const std::int64_t per_replica = situation.rates.sites_per_replica;
  std::vector<std::int32_t> degrees;
  if (operation.full_degree < situation.rates.tp) {
    const auto damaged_in_use = std::count(
        operation.damaged_degrees.begin(), operation.damaged_degrees.end(), operation.full_degree);
    degrees.assign(static_cast<std::size_t>(situation.rates.num_replicas), 0);
    std::fill_n(degrees.begin(),
                (operation.num_full_sites + damaged_in_use) / per_replica,
                operation.full_degree);
    return degrees;
  }
  // Sites of one replica share a degree, so that a degree's sites are a whole number of replicas.
  std::vector<std::int64_t> num_sites(static_cast<std::size_t>(situation.rates.tp) + 1, 0);
  for (const auto* sites : {&operation.damaged_degrees, &operation.filler_degrees}) {
    for (const std::int32_t degree : *sites) {
      ++num_sites[static_cast<std::size_t>(degree)];
    }
  }
  for (std::int32_t degree = 1; degree < situation.rates.tp; ++degree) {
    degrees.insert(
        degrees.end(),
        static_cast<std::size_t>(num_sites[static_cast<std::size_t>(degree)] / per_replica),
        degree);
  }
  const std::int64_t running =
      operation.num_full_sites / per_replica + static_cast<std::int64_t>(degrees.size());
  degrees.insert(
      degrees.end(), static_cast<std::size_t>(situation.rates.num_replicas - running), 0);
  return degrees;
}

/// The GPUs of a site: the healthy GPUs of its domain go to the sites in order, and lost ones fill
/// the slots that are left.
Cell make_cell(const Situation& situation, std::int64_t site, std::int32_t degree) {
  const std::int64_t per_domain = situation.scenario.sites_per_domain();
  const std::int64_t tp = situation.rates.tp;
  const std::int64_t first_gpu = situation.cluster.first_gpu(DomainId(site / per_domain)).value();
  std::vector<GpuId> healthy;
  std::vector<GpuId> lost;
  for (std::int64_t gpu = first_gpu; gpu < first_gpu + situation.cluster.domain_size; ++gpu) {
    (situation.health.is_down(GpuId(gpu)) ? lost : healthy).push_back(GpuId(gpu));
  }
  std::int64_t healthy_before = 0;
  std::int64_t lost_before = 0;
  for (std::int64_t other = site / per_domain * per_domain; other < site; ++other) {
    lost_before += situation.num_lost[static_cast<std::size_t>(other)];
    healthy_before += tp - situation.num_lost[static_cast<std::size_t>(other)];
  }
  const std::int64_t num_lost = situation.num_lost[static_cast<std::size_t>(site)];
  Cell cell;
  cell.slots.assign(healthy.begin() + healthy_before,
                    healthy.begin() + healthy_before + tp - num_lost);
  cell.slots.insert(
      cell.slots.end(), lost.begin() + lost_before, lost.begin() + lost_before + num_lost);
  std::sort(cell.slots.begin(), cell.slots.end());
  std::int64_t to_idle = tp - num_lost - degree;  // parity: the highest healthy slots
  for (std::int64_t slot = tp; slot-- > 0;) {
    const bool is_down = situation.health.is_down(cell.slots[static_cast<std::size_t>(slot)]);
    if (is_down || to_idle > 0) {
      cell.inactive.insert(cell.inactive.begin(), slot);
      to_idle -= is_down ? 0 : 1;
    }
  }
  return cell;
}

ParallelLayout make_layout(const Situation& situation,
                           const Placement& placement,
                           const std::vector<std::int32_t>& degrees) {
  ParallelSizes sizes = situation.scenario.layout;
  const ParallelSizes nominal = sizes;
  std::vector<std::int64_t> running;
  for (std::int64_t dp = 0; dp < nominal.dp; ++dp) {
    if (degrees[static_cast<std::size_t>(dp)] > 0) {
      running.push_back(dp);
    }
  }
  sizes.dp = static_cast<std::int64_t>(running.size());
  std::vector<Cell> cells;
  for (std::int64_t pp = 0; pp < nominal.pp; ++pp) {
    for (std::int64_t cp = 0; cp < nominal.cp; ++cp) {
      for (const std::int64_t dp : running) {
        const std::int64_t cell = cp + nominal.cp * (dp + nominal.dp * pp);
        cells.push_back(make_cell(situation,
                                  placement.site_of_cell[static_cast<std::size_t>(cell)],
                                  degrees[static_cast<std::size_t>(dp)]));
      }
    }
  }
  return ParallelLayout::from_cells(sizes, std::move(cells));
}

std::vector<ReplicaShare> make_shares(const Situation& situation,
                                      const std::vector<std::int32_t>& degrees) {
  std::vector<ReplicaShare> shares;
  const bool whole_job_reduced = situation.operation.full_degree < situation.rates.tp;
  for (const std::int32_t degree : degrees) {
    if (degree == situation.rates.tp || (degree > 0 && whole_job_reduced)) {
      shares.push_back({.num_microbatches = situation.scenario.num_microbatches()});
    } else if (degree > 0) {
      const DegreeRate& rate = situation.rates.reduced[static_cast<std::size_t>(degree)];
      shares.push_back({.num_microbatches = rate.num_microbatches,
                        .power = rate.power,
                        .num_recompute_layers = rate.num_recompute_layers});
    }
  }
  return shares;
}

/// Domains none of whose GPUs plays a rank or is down.
std::vector<DomainId> spare_domains(const Situation& situation, const ParallelLayout& layout) {
  std::vector<bool> busy(static_cast<std::size_t>(situation.cluster.num_domains()), false);
  for (const Cell& cell : layout.cells()) {
    busy[situation.cluster.domain_of(cell.slots.front()).index()] = true;
  }
  for (const GpuId gpu : situation.health.down()) {
    busy[situation.cluster.domain_of(gpu).index()] = true;
  }
  std::vector<DomainId> spares;
  for (std::int64_t domain = 0; domain < situation.cluster.num_domains(); ++domain) {
    if (!busy[static_cast<std::size_t>(domain)]) {
      spares.emplace_back(domain);
    }
  }
  return spares;
}

std::vector<std::string> explain(const Situation& situation,
                                 const Placement& placement,
                                 const std::vector<std::int32_t>& degrees) {
  std::vector<std::string> reasons;
  const auto damaged = std::count_if(situation.num_lost.begin(),
                                     situation.num_lost.end(),
                                     [](std::int32_t lost) { return lost > 0; });
  reasons.push_back(fmt::format("{} of {} GPUs are down and damage {} of {} TP sites.",
                                situation.health.down().size(),
                                situation.cluster.num_gpus(),
                                damaged,
                                situation.num_lost.size()));
  if (situation.followed != situation.policy) {
    reasons.push_back(fmt::format("{} promises the most work up to the next failure.",
                                  to_string(situation.followed)));
  }
  for (std::size_t dp = 0; dp < degrees.size(); ++dp) {
    const std::int32_t degree = degrees[dp];
    if (degree == 0) {
      reasons.push_back(fmt::format("Replica {} of the healthy job does not run.", dp));
    } else if (degree < situation.rates.tp) {
      const DegreeRate& rate = situation.rates.reduced[static_cast<std::size_t>(degree)];
      reasons.push_back(
          situation.operation.full_degree < situation.rates.tp
              ? fmt::format("Replica {} runs at TP {}, as all do.", dp, degree)
              : fmt::format("Replica {} runs at TP {} with {} of {} microbatches at {:.3f} of the "
                            "nominal power, so that no healthy replica waits for it.",
                            dp,
                            degree,
                            rate.num_microbatches,
                            situation.scenario.num_microbatches(),
                            rate.power));
    }
  }
  if (placement.num_moved > 0) {
    reasons.push_back(
        fmt::format("{} TP groups change their place, {} of them take another stage's state.",
                    placement.num_moved,
                    placement.num_state_moves));
  }
  reasons.push_back(fmt::format("Predicted throughput: {:.2f} % of the healthy job.",
                                100.0 * situation.operation.throughput));
  return reasons;
}

Expected<Plan, Infeasible> place_job(const Scenario& scenario,
                                     PolicyKind policy,
                                     const PolicyRates& rates,
                                     const Health& health) {
  const Situation situation = assess(scenario, policy, rates, health);
  if (situation.operation.throughput <= 0.0) {
    return cannot_run(situation);
  }
  const std::int64_t wanted = situation.operation.num_full_sites;
  if (wanted > situation.rates.num_job_sites()) {
    return Infeasible{fmt::format(
        "{} would fill the fixed batch with {} replicas more than data_parallel_size {}, which a "
        "plan of this layout cannot say; let the batch vary (recovery.batch = \"flexible\")",
        to_string(policy),
        wanted / situation.rates.sites_per_replica - situation.rates.num_replicas,
        situation.rates.num_replicas)};
  }
  const bool has_short_pipelines =
      situation.followed == PolicyKind::recycle || situation.followed == PolicyKind::oobleck;
  if (has_short_pipelines && situation.operation.num_full_sites < situation.rates.num_job_sites()) {
    return Infeasible{fmt::format(
        "{} would run with pipelines that lack TP groups, which a plan cannot say: it can be "
        "simulated only; choose another policy",
        to_string(situation.followed))};
  }
  const std::vector<std::int32_t> degrees =
      choose_reduced_replicas(scenario.layout, situation.num_lost, reduced_degrees(situation));
  const auto placement = place_sites(
      {.sizes = scenario.layout, .num_lost = situation.num_lost, .replica_degree = degrees});
  if (!placement) {
    return placement.error();
  }
  Plan plan;
  plan.policy = std::string(to_string(policy));
  plan.reasons = explain(situation, *placement, degrees);
  plan.cluster = situation.cluster;
  plan.model = scenario.model;
  plan.layout = make_layout(situation, *placement, degrees);
  plan.training = scenario.training;
  plan.replicas = make_shares(situation, degrees);
  plan.failed = health.down();
  plan.spare_domains = spare_domains(situation, plan.layout);
  const std::vector<Violation> violations = verify_plan(plan);
  require(violations.empty(),
          violations.empty() ? "" : "the plan breaks a rule: " + violations.front().what);
  return plan;
}

/// What it takes to get to `next` in place from the plan without failures.
std::string describe_transition(const Scenario& scenario, const Plan& healthy, const Plan& next) {
  const auto transition = make_transition(healthy, next);
  if (!transition) {
    return fmt::format("It cannot be reached in place: {}.", transition.error().reason);
  }
  constexpr double kGB = 1e9;
  return fmt::format(
      "Getting there from the healthy plan changes {} communicators and moves {:.1f} GB, at most "
      "{:.2f} GB of one GPU over NVLink and {:.2f} GB over the network: {:.1f} s in place.",
      transition->communicators.size(),
      transition->total_bytes().value / kGB,
      transition->most_within_domains(next.cluster).value / kGB,
      transition->most_between_domains(next.cluster).value / kGB,
      transition_time(*transition, scenario).count());
}

}  // namespace

Expected<Plan, Infeasible> plan_job(const Scenario& scenario,
                                    PolicyKind policy,
                                    const Health& health) {
  const auto rates = scenario_rates(policy, scenario);
  if (!rates) {
    return rates.error();
  }
  Expected<Plan, Infeasible> plan = place_job(scenario, policy, *rates, health);
  if (!plan || health.down().empty()) {
    return plan;
  }
  const Expected<Plan, Infeasible> healthy = place_job(scenario, policy, *rates, Health());
  if (!healthy) {
    return healthy;
  }
  Plan next = std::move(plan).value();
  next.reasons.push_back(describe_transition(scenario, *healthy, next));
  return next;
}

}  // namespace runflat::planner
