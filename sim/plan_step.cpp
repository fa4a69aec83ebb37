#include "sim/plan_step.hpp"

#include "sim/step_simulator.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

namespace runflat::sim {
namespace {

/// What tells replicas of one plan apart.
auto key_of(const StepQuery& query) {
  return std::tuple(query.tp,
                    query.tp_sync,
                    query.num_microbatches,
                    query.power_multiple,
                    query.num_recompute_layers);
}

std::vector<ReplicaClass> replica_classes(const Plan& plan) {
  std::vector<ReplicaClass> classes;
  for (std::int64_t dp = 0; dp < plan.layout.sizes().dp; ++dp) {
    const StepQuery query = replica_query(plan, DpRank(dp));
    if (query.num_microbatches == 0) {
      continue;  // takes no part in the step
    }
    const auto same = std::find_if(classes.begin(), classes.end(), [&](const ReplicaClass& other) {
      return key_of(other.query) == key_of(query);
    });
    if (same != classes.end()) {
      ++same->num_replicas;
    } else {
      classes.push_back({1, query, {}, true});
    }
  }
  return classes;
}

/// One replica of each class, side by side.
Seconds simulate(const Plan& plan,
                 const std::vector<ReplicaClass>& classes,
                 const HardwareParameters& on,
                 Timeline* timeline) {
  std::vector<StepTerms> terms;
  std::vector<StepSchedule> schedules;
  for (const ReplicaClass& replica : classes) {
    terms.push_back(step_terms(plan.model, replica.query, on));
    schedules.push_back(schedule_of(replica.query));
  }
  std::vector<ReplicaRun> runs;
  for (std::size_t i = 0; i < classes.size(); ++i) {
    runs.push_back({&schedules[i], &terms[i], {}});
  }
  StepSimulator simulator;
  return simulator.run(runs, timeline).step_time;
}

Value to_value(const StepBreakdown& parts) {
  Value value;
  for (const auto& [name, part] : {std::pair{"gemm", parts.gemm},
                                   {"attention", parts.attention},
                                   {"memory_bound", parts.streaming},
                                   {"host", parts.host},
                                   {"tensor", parts.tensor},
                                   {"context", parts.context},
                                   {"expert", parts.expert},
                                   {"pipeline", parts.pipeline},
                                   {"data", parts.data},
                                   {"reshard", parts.reshard},
                                   {"bubble", parts.bubble},
                                   {"straggler", parts.straggler},
                                   {"optimizer", parts.optimizer}}) {
    value.set(name, part.count());
  }
  return value;
}

Value to_value(const StageMemory& memory) {
  Value value;
  value.set("parameters", memory.parameters.value);
  value.set("gradients", memory.gradients.value);
  value.set("optimizer", memory.optimizer.value);
  value.set("activations", memory.activations.value);
  value.set("buffers", memory.buffers.value);
  value.set("total", memory.total().value);
  return value;
}

Value to_value(const ReplicaClass& replica) {
  Value value;
  value.set("num_replicas", replica.num_replicas);
  value.set("tp", replica.query.tp);
  value.set("tp_sync", replica.query.sync_tp());
  value.set("num_microbatches", replica.query.num_microbatches);
  value.set("power", replica.query.power_multiple);
  value.set("num_recompute_layers", replica.query.num_recompute_layers);
  value.set("step_time_s", replica.cost.step_time.count());
  value.set("breakdown_s", to_value(replica.cost.breakdown));
  Value memory;
  memory.set("first_stage", to_value(replica.cost.memory.first));
  memory.set("last_stage", to_value(replica.cost.memory.last));
  memory.set("fits", replica.fits);
  value.set("memory_bytes", std::move(memory));
  return value;
}

}  // namespace

StepQuery replica_query(const Plan& plan, DpRank replica) {
  const ParallelSizes& sizes = plan.layout.sizes();
  const TrainingSpec& training = plan.training;
  const ReplicaShare& share = plan.replicas[replica.index()];
  StepQuery query;
  query.tp = sizes.tp;
  query.tp_sync = sizes.tp;
  for (std::int64_t pp = 0; pp < sizes.pp; ++pp) {
    query.tp_sync = std::min(query.tp_sync, plan.layout.sync_degree(PpRank(pp)));
    for (std::int64_t cp = 0; cp < sizes.cp; ++cp) {
      query.tp = std::min(query.tp, plan.layout.tp_size({replica, CpRank(cp), PpRank(pp)}));
    }
  }
  query.cp = sizes.cp;
  query.ep = sizes.ep;
  query.dp = sizes.dp;
  query.pp = sizes.pp;
  query.vpp = sizes.vpp;
  query.micro_batch_size = training.micro_batch_size;
  query.num_microbatches = share.num_microbatches;
  query.sequence_parallel = training.sequence_parallel;
  query.recompute = training.recompute;
  query.num_recompute_layers = share.num_recompute_layers;
  query.zero_stage = training.zero_stage;
  query.precision = training.precision;
  query.power_multiple = share.power;
  query.num_gpus = plan.layout.num_ranks();
  return query;
}

Expected<PlanStep, Infeasible> price_plan(const Plan& plan,
                                          std::string_view release,
                                          Timeline* timeline) {
  return price_plan(plan, load_hardware(plan.cluster, release), timeline);
}

Expected<PlanStep, Infeasible> price_plan(const Plan& plan,
                                          const HardwareParameters& on,
                                          Timeline* timeline) {
  PlanStep step;
  step.gpu = on.gpu;
  step.release = on.release;
  step.num_gpus = plan.layout.num_ranks();
  step.sequences = plan.global_batch_size();
  step.seq_length = plan.model.seq_length;
  step.replicas = replica_classes(plan);
  for (ReplicaClass& replica : step.replicas) {
    const Expected<StepCost, Infeasible> cost = step_cost(plan.model, replica.query, on);
    if (!cost) {
      return cost.error();
    }
    replica.cost = *cost;
    replica.fits = fits_memory(*cost, on);
    step.step_time = std::max(step.step_time, cost->step_time);
  }
  step.simulated_time = simulate(plan, step.replicas, on, timeline);
  const double flops = static_cast<double>(step.sequences) * plan.model.flops_per_sequence();
  step.model_flops_rate = {flops / step.step_time.count() / static_cast<double>(step.num_gpus)};
  const bool is_8bit = plan.training.precision == Precision::fp8;
  step.mfu =
      step.model_flops_rate / (is_8bit ? on.compute.gpu.peak_8bit : on.compute.gpu.peak_16bit);
  return step;
}

Value to_value(const PlanStep& step) {
  const double tokens = static_cast<double>(step.sequences * step.seq_length);
  const double rate = tokens / step.step_time.count();
  Value value;
  value.set("schema", 1);
  value.set("gpu", step.gpu);
  value.set("release", step.release);
  value.set("num_gpus", step.num_gpus);
  value.set("step_time_s", step.step_time.count());
  value.set("simulated_step_time_s", step.simulated_time.count());
  value.set("tokens_per_step", tokens);
  value.set("tokens_per_s", rate);
  value.set("tokens_per_s_per_gpu", rate / static_cast<double>(step.num_gpus));
  value.set("model_tflops_per_gpu", step.model_flops_rate.value / 1e12);
  value.set("mfu", step.mfu);
  Value::Array replicas;
  for (const ReplicaClass& replica : step.replicas) {
    replicas.push_back(to_value(replica));
  }
  value.set("replicas", Value(std::move(replicas)));
  return value;
}

}  // namespace runflat::sim
