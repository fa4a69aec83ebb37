#include "planner/replica_time.hpp"

#include "core/state_slice.hpp"
#include "planner/adaptive_rates.hpp"
#include "planner/pipeline_rates.hpp"
#include "sim/hardware.hpp"
#include "sim/step_cost.hpp"

#include <fmt/format.h>
#include <utility>

namespace runflat::planner {
namespace {

Infeasible out_of_memory(const Scenario& scenario,
                         const ReplicaQuery& replica,
                         const sim::StepCost& cost,
                         const sim::HardwareParameters& hardware) {
  constexpr double kGB = 1e9;
  return Infeasible{fmt::format(
      "a GPU of {} at TP {} needs {:.1f} GB and {} has {:.1f}; a larger TP or PP degree, "
      "training.recompute = \"full\" or a smaller micro_batch_size would need less",
      scenario.model.name,
      replica.tp_size,
      cost.memory.peak().value / kGB,
      hardware.gpu,
      hardware.compute.gpu.hbm_capacity.value / kGB)};
}

/// Recomputes as many whole layers of each stage as memory asks for (Megatron's block method), time
/// and memory being linear in their number between none and all.
Expected<ReplicaStep, Infeasible> with_recomputation(const Scenario& scenario,
                                                     const ReplicaQuery& replica,
                                                     sim::StepQuery query,
                                                     const sim::StepCost& without,
                                                     const sim::HardwareParameters& hardware) {
  query.recompute = Recompute::full;
  const auto all = sim::step_cost(scenario.model, query, hardware);
  if (!all) {
    return all.error();
  }
  const std::int64_t layers = (scenario.model.num_layers + query.pp - 1) / query.pp;
  for (std::int64_t num = 1; num <= layers; ++num) {
    const double share = static_cast<double>(num) / static_cast<double>(layers);
    sim::StepCost mixed = without;
    const auto move_towards = [share](Bytes& kept, Bytes target) {
      kept = kept + (target - kept) * share;
    };
    move_towards(mixed.memory.first.activations, all->memory.first.activations);
    move_towards(mixed.memory.last.activations, all->memory.last.activations);
    if (sim::fits_memory(mixed, hardware)) {
      return ReplicaStep(without.step_time + (all->step_time - without.step_time) * share, num);
    }
  }
  return out_of_memory(scenario, replica, *all, hardware);
}

ReplicaQuery healthy_replica(const Scenario& scenario) {
  return {.tp_size = scenario.layout.tp,
          .sync_degree = scenario.layout.tp,
          .num_microbatches = scenario.num_microbatches()};
}

/// Replaces the cost model's reduced replicas by those that the scenario lists, where it does.
void apply_listed(PolicyKind policy, const Scenario& scenario, PolicyRates& rates) {
  if (scenario.reduced_replicas.empty()) {
    return;
  }
  for (std::size_t degree = 1; degree < static_cast<std::size_t>(rates.tp); ++degree) {
    rates.reduced[degree] = DegreeRate();
    rates.reduced[degree].obstacle = "not among the reduced_replica of the scenario";
  }
  const std::int64_t whole = scenario.num_microbatches();
  for (const ReducedReplica& listed : scenario.reduced_replicas) {
    const bool boosted = policy == PolicyKind::ntp_pw && listed.power;
    const std::int64_t batch = boosted ? whole : listed.num_microbatches;
    DegreeRate& rate = rates.reduced[static_cast<std::size_t>(listed.tp)];
    rate.num_microbatches = batch;
    rate.share = static_cast<double>(batch) / static_cast<double>(whole);
    rate.power = boosted ? *listed.power : 1.0;
    rate.obstacle.clear();
  }
}

}  // namespace

sim::StepQuery step_query(const Scenario& scenario, const ReplicaQuery& replica) {
  const ParallelSizes& layout = scenario.layout;
  const TrainingSpec& training = scenario.training;
  sim::StepQuery query;
  query.tp = replica.tp_size;
  query.cp = layout.cp;
  query.ep = layout.ep;
  query.dp = layout.dp;
  query.pp = replica.num_stages > 0 ? replica.num_stages : layout.pp;
  query.vpp = replica.num_virtual > 0 ? replica.num_virtual : layout.vpp;
  query.micro_batch_size = training.micro_batch_size;
  query.num_microbatches = replica.num_microbatches;
  query.sequence_parallel = training.sequence_parallel;
  query.recompute = training.recompute;
  query.zero_stage = training.zero_stage;
  query.precision = training.precision;
  query.tp_sync = replica.sync_degree;
  query.power_multiple = replica.power;
  query.num_gpus = layout.num_ranks();
  return query;
}

ReplicaTime make_replica_time(const Scenario& scenario) {
  return [scenario, hardware = sim::load_hardware(scenario.cluster, scenario.software_release)](
             const ReplicaQuery& replica) -> Expected<ReplicaStep, Infeasible> {
    if (auto obstacle = check_division(scenario.model, replica.tp_size, replica.sync_degree)) {
      return *std::move(obstacle);
    }
    const sim::StepQuery query = step_query(scenario, replica);
    const auto cost = sim::step_cost(scenario.model, query, hardware);
    if (!cost) {
      return cost.error();
    }
    if (sim::fits_memory(*cost, hardware)) {
      return ReplicaStep(cost->step_time);
    }
    const bool is_healthy =
        replica.sync_degree == scenario.layout.tp && query.pp == scenario.layout.pp;
    if (is_healthy || query.recompute == Recompute::full) {
      return out_of_memory(scenario, replica, *cost, hardware);
    }
    return with_recomputation(scenario, replica, query, *cost, hardware);
  };
}

Expected<Seconds, Infeasible> healthy_step_time(const Scenario& scenario) {
  const auto step = make_replica_time(scenario)(healthy_replica(scenario));
  if (!step) {
    return step.error();
  }
  return step->time;
}

sim::StepShares step_shares(const Scenario& scenario) {
  const sim::StepQuery query = step_query(scenario, healthy_replica(scenario));
  const auto cost = sim::step_cost(
      scenario.model, query, sim::load_hardware(scenario.cluster, scenario.software_release));
  if (!cost) {
    return {};
  }
  const sim::StepBreakdown& parts = cost->breakdown;
  const Seconds network = parts.tensor + parts.context + parts.expert + parts.pipeline + parts.data;
  const double share = network / parts.total();
  return {.compute = 1.0 - share, .network = share};
}

UniformRule make_uniform_rule(const Scenario& scenario) {
  return [model = scenario.model](std::int64_t degree) {
    return model.num_attention_heads % degree == 0 &&
           (model.num_query_groups % degree == 0 || degree % model.num_query_groups == 0) &&
           model.ffn_hidden_size % degree == 0 && model.padded_vocab_size % degree == 0;
  };
}

Expected<PolicyRates, Infeasible> scenario_rates(PolicyKind policy, const Scenario& scenario) {
  return scenario_rates(policy, scenario, fault_rates(scenario));
}

Expected<PolicyRates, Infeasible> scenario_rates(PolicyKind policy,
                                                 const Scenario& scenario,
                                                 const FaultRates& faults) {
  if (policy == PolicyKind::adaptive) {
    return adaptive_rates(scenario, faults);
  }
  const ParallelSizes& layout = scenario.layout;
  const HealthyJob job{.tp = layout.tp,
                       .sites_per_replica = layout.cp * layout.pp,
                       .num_replicas = layout.dp,
                       .num_microbatches = scenario.num_microbatches()};
  const ReplicaTime replica_time = make_replica_time(scenario);
  auto computed =
      compute_rates(policy,
                    job,
                    {.max_boost = scenario.power.max_boost,
                     .rack_headroom = scenario.power.rack_headroom,
                     .rack_gpus = scenario.cluster.domains_per_rack * scenario.cluster.domain_size},
                    make_uniform_rule(scenario),
                    replica_time);
  if (!computed) {
    return computed.error();
  }
  PolicyRates rates = std::move(computed).value();
  apply_listed(policy, scenario, rates);
  rates.fixed_batch = scenario.recovery.batch == BatchRule::fixed;
  const auto healthy = replica_time({.tp_size = layout.tp,
                                     .sync_degree = layout.tp,
                                     .num_microbatches = scenario.num_microbatches()});
  if (!healthy) {
    return healthy.error();
  }
  rates.interruptions = interruptions(policy, scenario, faults, healthy->time);
  if (policy == PolicyKind::recycle || policy == PolicyKind::oobleck) {
    rates.pipeline =
        pipeline_rates(job, {.num_stages = layout.pp, .num_virtual = layout.vpp}, replica_time);
  }
  return rates;
}

}  // namespace runflat::planner
