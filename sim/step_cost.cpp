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

/// What sends add to a stage's time for one microbatch. Blocking, 1F1B exchanges after each pass
/// that has a neighbour, and interleaving after each pair of passes, all four messages at once.
/// Beside compute, interleaving hides a send behind the other pass of its slot; for 1F1B see
/// pipeline_time.
Seconds visible_sends(const StepTerms& terms, const StepQuery& query, double neighbours) {
  const auto chunks = static_cast<double>(query.vpp);
  if (terms.send > Seconds{}) {
    return terms.send * (query.vpp == 1 ? neighbours : chunks);
  }
  if (query.vpp == 1) {
    return {};
  }
  const Seconds slot = terms.layer.forward.total() * (terms.share.layers / chunks);
  return std::max(Seconds{}, terms.full_send - slot) * chunks;
}

/// Sends of the first microbatch's way to the last stage and back, and of interleaving's further
/// warm-up rounds, which have no other pass to hide behind or share a group with.
Seconds fill_sends(const StepTerms& terms, const StepQuery& query) {
  const bool blocks = terms.send > Seconds{};
  const auto hops = static_cast<double>(2 * (query.pp - 1));
  const auto rounds = static_cast<double>((query.vpp - 1) * query.pp);
  return blocks ? terms.send * (hops + rounds) : terms.full_send * (hops + 2.0 * rounds);
}

StageTime stage_time(const StepTerms& terms,
                     const StepQuery& query,
                     double layers,
                     double neighbours) {
  StageTime stage;
  stage.work = (terms.layer.forward * layers);
  stage.work += terms.layer.backward * layers;
  stage.sends = visible_sends(terms, query, neighbours);
  return stage;
}

void add_pass(const PassCost& pass, StageTime& stage) {
  stage.work += pass.forward;
  stage.work += pass.backward;
}

Seconds total(const PassCost& pass) {
  return pass.forward.total() + pass.backward.total();
}

/// The slowest stage, and the time in which it waits for the others: the first microbatch's way to
/// it and the last one's way from it, through one chunk of every other stage.
struct PipelineTime {
  StageTime slowest;
  Seconds fill{};
};

PipelineTime pipeline_time(const StepQuery& query, const StepTerms& terms) {
  const RankShare& share = terms.share;
  StageTime first = stage_time(terms, query, share.first_layers, 1.0);
  add_pass(terms.embedding, first);
  if (query.pp == 1) {
    add_pass(terms.head, first);
    return {first, {}};
  }
  StageTime last = stage_time(terms, query, share.last_layers, 1.0);
  add_pass(terms.head, last);
  const StageTime middle = stage_time(terms, query, share.layers, 2.0);
  const auto num_middle = static_cast<double>(query.pp - 2);
  const double layers = share.first_layers + share.last_layers + num_middle * share.layers;
  const double chunk = 1.0 / static_cast<double>(query.vpp);
  const Seconds others = total(terms.layer) * chunk;
  const bool is_middle =
      num_middle > 0.0 && first.total() < middle.total() && last.total() < middle.total();
  PipelineTime pipeline;
  if (is_middle) {
    pipeline = {middle,
                others * (layers - share.layers) + total(terms.embedding) + total(terms.head)};
  } else if (last.total() < first.total()) {
    pipeline = {first, others * (layers - share.first_layers) + total(terms.head)};
  } else {
    pipeline = {last, others * (layers - share.last_layers) + total(terms.embedding)};
  }
  pipeline.fill += fill_sends(terms, query);
  if (query.vpp == 1 && terms.send <= Seconds{}) {
    // The first stage has pp microbatches under way, so that pp rounds take at least one round
    // trip through all stages: sends beside compute are not free.
    const Seconds trip = pipeline.slowest.total() + pipeline.fill;
    const Seconds round = trip / static_cast<double>(query.pp);
    pipeline.slowest.sends += std::max(Seconds{}, round - pipeline.slowest.total());
  }
  return pipeline;
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
  const PipelineTime pipeline = pipeline_time(query, terms);
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
  parts.bubble = pipeline.fill;
  parts.straggler = (pipeline.slowest.total() * rounds + parts.bubble) * terms.straggler;
  parts.optimizer = terms.optimizer;
  const SyncCost sync = terms.visible_sync();
  parts.reshard = sync.reshard();
  parts.data += sync.reduce + sync.gather;
  cost.step_time = parts.total();
  cost.memory = memory_cost(model, query, terms.share, on);
  add_throughput(model, query, on, cost);
  return cost;
}

bool fits_memory(const StepCost& cost, const HardwareParameters& on, Bytes reserved) {
  return cost.memory.peak() + reserved <= on.compute.gpu.hbm_capacity;
}

}  // namespace runflat::sim
