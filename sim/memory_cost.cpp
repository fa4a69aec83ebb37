#include "sim/memory_cost.hpp"

#include "sim/layer_cost.hpp"

#include <algorithm>

namespace runflat::sim {
namespace {

constexpr double kWeight = 2.0;
constexpr double kGradient = 4.0;
constexpr double kOptimizer = 12.0;

/// Divides what ZeRO's `from_stage` shards among the ranks that replicate it.
double zero_share(const StepQuery& query, int from_stage, double replicas) {
  return query.zero_stage >= from_stage ? std::max(1.0, replicas) : 1.0;
}

void add_state(const StepQuery& query, const StageParameters& held, StageMemory& memory) {
  const auto replicas = static_cast<double>(query.dp * query.cp);
  const double expert_replicas = replicas / static_cast<double>(query.ep);
  const auto bytes = [&](double element, int from_stage) {
    return Bytes{element * (held.dense() / zero_share(query, from_stage, replicas) +
                            held.experts / zero_share(query, from_stage, expert_replicas))};
  };
  memory.parameters = bytes(kWeight, 3);
  memory.gradients = bytes(kGradient, 2);
  memory.optimizer = bytes(kOptimizer, 1);
}

/// Layers' worth of activations in flight on the first stage: all its microbatches up to pp, and
/// the further chunks that an interleaved schedule starts.
double layers_in_flight_first(const StepQuery& query, const RankShare& share) {
  const auto pp = static_cast<double>(query.pp);
  const auto m = static_cast<double>(query.num_microbatches);
  if (query.vpp == 1) {
    return share.first_layers * std::min(m, pp);
  }
  const auto v = static_cast<double>(query.vpp);
  const double chunks = std::min(m * v, 2.0 * (pp - 1.0) + (v - 1.0) * pp + 1.0);
  return share.first_layers / v * chunks;
}

double layers_in_flight_last(const StepQuery& query, const RankShare& share) {
  const auto v = static_cast<double>(query.vpp);
  const auto pp = static_cast<double>(query.pp);
  const auto m = static_cast<double>(query.num_microbatches);
  const double chunks = std::min(m * v, (v - 1.0) * pp + 1.0);
  return share.last_layers / v * chunks;
}

/// Of one layer: what it keeps on average over its stage, and what recomputation rebuilds of one at
/// a time.
struct LayerMemory {
  Bytes kept;
  Bytes rebuilt;
};

LayerMemory layer_memory(const ModelSpec& model,
                         const StepQuery& query,
                         const RankShare& share,
                         const HardwareParameters& on) {
  StepQuery whole = query;
  whole.recompute = Recompute::none;
  StepQuery full = query;
  full.recompute = Recompute::full;
  if (query.recompute == Recompute::full) {
    return {layer_activations(model, full, share, on), layer_activations(model, whole, share, on)};
  }
  LayerMemory memory{layer_activations(model, query, share, on), {}};
  if (query.num_recompute_layers > 0) {
    const double again =
        std::min(1.0, static_cast<double>(query.num_recompute_layers) / share.layers);
    const Bytes input = layer_activations(model, full, share, on);
    memory.rebuilt = memory.kept;
    memory.kept = memory.kept + (input - memory.kept) * again;
  }
  return memory;
}

}  // namespace

StageParameters stage_parameters(const ModelSpec& model,
                                 const StepQuery& query,
                                 const RankShare& share,
                                 bool last) {
  const auto h = static_cast<double>(model.hidden_size);
  const auto d = static_cast<double>(model.kv_channels);
  const double layers = last ? share.last_layers : share.first_layers;
  const double matrices = model.gated_linear_unit ? 3.0 : 2.0;
  StageParameters held;
  double layer = h * d * (2.0 * share.heads + 2.0 * share.kv_heads);
  if (model.num_experts == 0) {
    layer += h * share.ffn * matrices;
  } else {
    held.experts = layers * share.experts * h * share.expert_ffn * matrices;
    layer += h * static_cast<double>(model.num_experts);  // router
  }
  held.replicated = layers * h * (model.rms_norm ? 2.0 : 4.0);
  held.layers = layers * layer + held.replicated;
  const double table = share.vocab * h;
  const bool is_tied = !model.untie_embeddings_and_output_weights;
  held.embedding = query.pp == 1 && !is_tied ? 2.0 * table : table;
  return held;
}

Bytes layer_activations(const ModelSpec& model,
                        const StepQuery& query,
                        const RankShare& share,
                        const HardwareParameters& on) {
  const double tokens = local_tokens(model, query);
  const auto h = static_cast<double>(model.hidden_size);
  const auto d = static_cast<double>(model.kv_channels);
  const double own = query.sequence_parallel ? static_cast<double>(query.tp) : 1.0;
  if (query.recompute == Recompute::full) {
    return Bytes{2.0 * tokens * h};  // the input, gathered
  }
  // Inputs of both norms, of QKV and of fc1, and a dropout mask after each half: 10 with dropout.
  const double whole = (8.0 + 2.0 * on.dropout_bytes) * h / own;
  const double heads = 2.0 * d * (share.heads + 2.0 * share.kv_heads) + 2.0 * d * share.heads;
  double mlp = (model.gated_linear_unit ? 6.0 : 4.0) * share.ffn;
  if (model.num_experts > 0) {
    const double routed = static_cast<double>(model.moe_router_topk) * query.expert_imbalance;
    mlp = routed * ((model.gated_linear_unit ? 6.0 : 4.0) * share.expert_ffn + 2.0 * h / own);
  }
  double scores = 0.0;
  if (on.compute.attention.kernel == AttentionKernel::unfused &&
      query.recompute == Recompute::none) {
    scores = 5.0 * share.heads * static_cast<double>(model.seq_length);
  }
  return Bytes{tokens * (whole + heads + mlp + scores)};
}

MemoryCost memory_cost(const ModelSpec& model,
                       const StepQuery& query,
                       const RankShare& share,
                       const HardwareParameters& on) {
  MemoryCost memory;
  add_state(query, stage_parameters(model, query, share, false), memory.first);
  add_state(query, stage_parameters(model, query, share, true), memory.last);
  const LayerMemory layer = layer_memory(model, query, share, on);
  memory.first.activations = layer.kept * layers_in_flight_first(query, share) + layer.rebuilt;
  memory.last.activations = layer.kept * layers_in_flight_last(query, share) + layer.rebuilt;
  // fp16 logits, their fp32 copy and its gradient.
  const Bytes logits{local_tokens(model, query) * share.vocab * 8.0};
  memory.last.buffers = logits;
  if (query.pp == 1) {
    memory.first.buffers = logits;
  }
  return memory;
}

}  // namespace runflat::sim
