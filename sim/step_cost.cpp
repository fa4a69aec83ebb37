#include "sim/step_cost.hpp"

#include <algorithm>

namespace runflat::sim {
namespace {

/// Forward and backward of one microbatch through a stage with its sends.
struct StageTime {
  PhaseCost work;
  Seconds sends{};

  [[nodiscard]] Seconds total() const { return work.total() + sends; }
};

StageTime stage_time(const StepTerms& terms, const StepQuery& query, double layers) {
  StageTime stage;
  stage.work = (terms.layer.forward * layers);
  stage.work += terms.layer.backward * layers;
  stage.sends = 2.0 * terms.send * static_cast<double>(query.vpp);
  return stage;
}

void add_pass(const PassCost& pass, StageTime& stage) {
  stage.work += pass.forward;
  stage.work += pass.backward;
}

/// The slowest stage and the sum of all.
struct PipelineTime {
  StageTime slowest;
  Seconds sum{};
};

PipelineTime pipeline_time(const ModelSpec& model, const StepQuery& query, const StepTerms& terms) {
  if (query.pp == 1) {
    StageTime only = stage_time(terms, query, terms.share.layers);
    add_pass(terms.embedding, only);
    add_pass(terms.head, only);
    return {only, only.total()};
  }
  StageTime first = stage_time(terms, query, terms.share.first_layers);
  StageTime last = stage_time(terms, query, terms.share.last_layers);
  const StageTime middle = stage_time(terms, query, terms.share.layers);
  const Seconds all_layers = (terms.layer.forward.total() + terms.layer.backward.total()) *
                             static_cast<double>(model.num_layers);
  add_pass(terms.embedding, first);
  add_pass(terms.head, last);
  PipelineTime pipeline;
  pipeline.slowest = first.total() < last.total() ? last : first;
  if (query.pp > 2 && pipeline.slowest.total() < middle.total()) {
    pipeline.slowest = middle;
  }
  pipeline.sum = all_layers + middle.sends * static_cast<double>(query.pp) +
                 terms.embedding.forward.total() + terms.embedding.backward.total() +
                 terms.head.forward.total() + terms.head.backward.total();
  return pipeline;
}

/// Splits the exposed synchronisation between the data-parallel and the resharding part.
void add_sync(const StepTerms& terms, Seconds window, StepBreakdown& parts) {
  const Seconds all = terms.sync.total();
  if (all <= Seconds{}) {
    return;
  }
  const Seconds visible =
      terms.sync_exposed < 1.0 ? std::max(all * terms.sync_exposed, all - window) : all;
  parts.reshard = visible * (terms.sync.reshard() / all);
  parts.data += visible - parts.reshard;
}

void add_throughput(const ModelSpec& model,
                    const StepQuery& query,
                    const HardwareParameters& on,
                    StepCost& cost) {
  const double seconds = cost.step_time.count();
  const auto sequences =
      static_cast<double>(query.micro_batch_size * query.num_microbatches * query.dp);
  const auto gpus = static_cast<double>(query.tp * query.cp * query.dp * query.pp);
  cost.tokens_per_second = sequences * static_cast<double>(model.seq_length) / seconds;
  cost.model_flops_rate = {sequences * model.flops_per_sequence() / seconds / gpus};
  const FlopsPerSecond peak =
      query.precision == Precision::fp8 ? on.compute.gpu.peak_8bit : on.compute.gpu.peak_16bit;
  cost.mfu = cost.model_flops_rate / peak;
}

}  // namespace

Expected<StepCost, Infeasible> step_cost(const ModelSpec& model,
                                         const StepQuery& query,
                                         const HardwareParameters& on) {
  if (std::optional<Infeasible> fault = check_query(model, query)) {
    return *std::move(fault);
  }
  if (query.precision == Precision::fp8 && on.compute.gpu.peak_8bit.value <= 0.0) {
    return Infeasible{on.gpu + " has no 8-bit floating point"};
  }
  const StepTerms terms = step_terms(model, query, on);
  const PipelineTime pipeline = pipeline_time(model, query, terms);
  const auto rounds = static_cast<double>(query.num_microbatches);

  StepCost cost;
  StepBreakdown& parts = cost.breakdown;
  const PhaseCost& work = pipeline.slowest.work;
  parts.gemm = work.gemm * rounds;
  parts.attention = work.attention * rounds;
  parts.streaming = work.streaming * rounds;
  parts.host = work.host * rounds;
  parts.tensor = work.tensor * rounds;
  parts.context = work.context * rounds;
  parts.expert = work.expert * rounds;
  parts.pipeline = pipeline.slowest.sends * rounds;
  parts.data = terms.zero3_gather * rounds;
  parts.bubble = (pipeline.sum - pipeline.slowest.total()) / static_cast<double>(query.vpp);
  parts.straggler = (pipeline.slowest.total() * rounds + parts.bubble) * terms.straggler;
  parts.optimizer = terms.optimizer;
  add_sync(terms, pipeline.slowest.total(), parts);
  cost.step_time = parts.total();
  cost.memory = memory_cost(model, query, terms.share, on);
  add_throughput(model, query, on, cost);
  return cost;
}

bool fits_memory(const StepCost& cost, const HardwareParameters& on, Bytes reserved) {
  return cost.memory.peak() + reserved <= on.compute.gpu.hbm_capacity;
}

}  // namespace runflat::sim
