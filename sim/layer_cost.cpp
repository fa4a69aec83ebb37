#include "sim/layer_cost.hpp"

#include <algorithm>

namespace runflat::sim {
namespace {

constexpr double kElement = 2.0;  // bytes of an fp16 or bf16 element

/// The sizes that all of a layer's parts use, as doubles.
struct LayerSizes {
  LayerSizes(const ModelSpec& model, const StepQuery& query, const RankShare& share)
      : tokens(local_tokens(model, query)),
        own_tokens(query.sequence_parallel ? tokens / static_cast<double>(query.tp) : tokens),
        hidden(static_cast<double>(model.hidden_size)),
        q(share.heads * static_cast<double>(model.kv_channels)),
        kv(share.kv_heads * static_cast<double>(model.kv_channels)),
        gates(model.gated_linear_unit ? 2.0 : 1.0) {}

  double tokens;      ///< of the microbatch
  double own_tokens;  ///< of them on this rank where sequence parallelism splits them
  double hidden;
  double q;
  double kv;
  double gates;  ///< matrices in fc1
};

/// Forward, data gradient and weight gradient of y[m, n] = x[m, k] w[k, n].
void add_linear(const ComputeParameters& on, const GemmShape& y, bool is_8bit, PassCost& cost) {
  cost.forward.gemm += gemm(on, y, is_8bit);
  cost.backward.gemm +=
      gemm(on, {y.m, y.k, y.n, y.count}, is_8bit) + gemm(on, {y.n, y.k, y.m, y.count}, is_8bit);
}

/// The MLP's input tokens per matrix, its width on this rank and how many of them run side by side.
struct MlpShape {
  double rows;
  double width;
  double count;
};

MlpShape mlp_shape(const ModelSpec& model,
                   const StepQuery& query,
                   const RankShare& share,
                   const LayerSizes& size) {
  if (model.num_experts == 0) {
    return {size.tokens, share.ffn, 1.0};
  }
  const double routed = size.tokens * static_cast<double>(model.moe_router_topk);
  return {routed * query.expert_imbalance / share.experts, share.expert_ffn, share.experts};
}

void add_gemms(const ComputeParameters& on,
               bool is_8bit,
               const LayerSizes& size,
               const MlpShape& mlp,
               PassCost& cost) {
  add_linear(on, {size.tokens, size.q + 2.0 * size.kv, size.hidden}, is_8bit, cost);
  add_linear(on, {size.tokens, size.hidden, size.q}, is_8bit, cost);
  add_linear(on, {mlp.rows, size.gates * mlp.width, size.hidden, mlp.count}, is_8bit, cost);
  add_linear(on, {mlp.rows, size.hidden, mlp.width, mlp.count}, is_8bit, cost);
}

/// Norms, residual adds (with dropout where trained so), activation, rotation or transposition of
/// queries and keys, casts to 8 bits.
void add_streaming(const HardwareParameters& on,
                   bool is_8bit,
                   bool has_bias,
                   const LayerSizes& size,
                   const MlpShape& mlp,
                   PassCost& cost) {
  const bool is_unfused = on.compute.attention.kernel == AttentionKernel::unfused;
  const double mask = on.dropout_bytes;
  const double qkv = size.q + 2.0 * size.kv;
  const double mlp_elements = mlp.rows * mlp.count * mlp.width;
  const double hidden = size.own_tokens * size.hidden;
  double forward = 2.0 * (4.0 + 6.0 + mask) * hidden + 4.0 * size.tokens * qkv;
  double backward = 2.0 * 8.0 * hidden + 2.0 * (is_unfused ? 5.0 : 2.0) * hidden;
  if (is_unfused) {
    // Bias and GELU; QKV split and context transposition are kernels of their own.
    forward += 4.0 * size.tokens * size.q + 4.0 * mlp_elements;
    backward += (6.0 * qkv + 4.0 * size.q) * size.tokens + 6.0 * mlp_elements;
  } else {
    forward += 2.0 * (size.gates + 1.0) * mlp_elements;
    backward += 4.0 * size.tokens * qkv + 2.0 * (2.0 * size.gates + 1.0) * mlp_elements;
  }
  if (is_8bit) {
    const double mlp_inputs = mlp.rows * mlp.count;
    forward += on.cast_bytes *
               ((size.hidden + size.q) * size.tokens + (size.hidden + mlp.width) * mlp_inputs);
    backward += on.cast_bytes * ((qkv + size.hidden) * size.tokens +
                                 (size.gates * mlp.width + size.hidden) * mlp_inputs);
  }
  const double outputs = size.tokens * (qkv + 2.0 * size.hidden);  // of linear layers, less fc1's
  if (has_bias) {
    forward += on.bias_add_bytes * outputs;
    backward += on.bias_gradient_bytes * (outputs + size.gates * mlp_elements);
  }
  if (size.own_tokens < size.tokens) {
    forward += 0.5 * on.sequence_copy_bytes * hidden;
    backward += 0.5 * on.sequence_copy_bytes * hidden;
  }
  cost.forward.streaming += stream(on.compute, Bytes{forward}, is_unfused ? 10 : 8);
  cost.backward.streaming += stream(on.compute, Bytes{backward}, is_unfused ? 14 : 10);
}

AttentionShape attention_shape(const ModelSpec& model,
                               const StepQuery& query,
                               const RankShare& share) {
  const auto length = static_cast<double>(model.seq_length);
  return {share.heads * static_cast<double>(query.micro_batch_size),
          static_cast<double>(model.kv_channels),
          length / static_cast<double>(query.cp),
          length};
}

/// Two all-reduces of the hidden states in each pass, or the gathers and scatters that replace them
/// and, in backward, gather each input again.
void add_tensor(const StepQuery& query,
                const HardwareParameters& on,
                const LayerSizes& size,
                PassCost& cost) {
  if (query.tp == 1) {
    return;
  }
  const GroupShape group = strided_group(on.fabric, query.tp, 1);
  const Bytes tensor{kElement * size.tokens * size.hidden};
  const Seconds reduced = query.sequence_parallel ? 2.0 * reduce_scatter(on.fabric, group, tensor)
                                                  : all_reduce(on.fabric, group, tensor);
  const bool overlaps = query.overlap_tensor;
  cost.forward.tensor += 2.0 * reduced * (overlaps ? on.overlap.tensor_forward : 1.0);
  cost.backward.tensor += 2.0 * reduced * (overlaps ? on.overlap.tensor_backward : 1.0);
  if (query.sequence_parallel) {
    cost.backward.tensor += reduced * (overlaps ? on.overlap.sequence_gather : 1.0);
  }
}

/// Exchange of keys and values among the context-parallel ranks. A ring hides behind attention.
void add_context(const StepQuery& query,
                 const HardwareParameters& on,
                 const LayerSizes& size,
                 PassCost& cost) {
  if (query.cp == 1) {
    return;
  }
  const GroupShape group = strided_group(on.fabric, query.cp, query.tp);
  const double kv_bytes = kElement * 2.0 * size.kv * size.tokens;
  const auto ranks = static_cast<double>(query.cp);
  switch (query.context_exchange) {
    case ContextExchange::ring: {
      const Seconds hop = send(on.fabric, group.is_in_one_domain(), Bytes{kv_bytes});
      const Seconds forward = hop * (ranks - 1.0);
      const Seconds backward = hop * (2.0 * ranks - 1.0);
      const double exposed = on.overlap.context;
      cost.forward.context += std::max(forward * exposed, forward - cost.forward.attention);
      cost.backward.context += std::max(backward * exposed, backward - cost.backward.attention);
      return;
    }
    case ContextExchange::all_gather: {
      const Seconds gather = reduce_scatter(on.fabric, group, Bytes{kv_bytes * ranks});
      cost.forward.context += gather;
      cost.backward.context += 2.0 * gather;
      return;
    }
    case ContextExchange::all_to_all: {
      const double bytes = kElement * (2.0 * size.q + 2.0 * size.kv) * size.tokens;
      const Seconds swap = all_to_all(on.fabric, group, Bytes{bytes});
      cost.forward.context += swap;
      cost.backward.context += swap;
      return;
    }
  }
}

/// Dispatch of tokens to the ranks of their experts, and back.
void add_expert(const ModelSpec& model,
                const StepQuery& query,
                const HardwareParameters& on,
                const LayerSizes& size,
                PassCost& cost) {
  if (query.ep == 1) {
    return;
  }
  const GroupShape group = strided_group(on.fabric, query.ep, query.tp);
  const double routed = size.own_tokens * static_cast<double>(model.moe_router_topk);
  const Bytes local{kElement * routed * size.hidden * query.expert_imbalance};
  const Seconds both = 2.0 * all_to_all(on.fabric, group, local) * on.overlap.expert;
  cost.forward.expert += both;
  cost.backward.expert += both;
}

void scale_compute(PhaseCost& phase, double factor) {
  phase.gemm *= factor;
  phase.attention *= factor;
  phase.streaming *= factor;
}

void apply_power(double power_multiple, PassCost& cost) {
  if (power_multiple != 1.0) {
    const double factor = 1.0 / speed_at_power(power_multiple);
    scale_compute(cost.forward, factor);
    scale_compute(cost.backward, factor);
  }
}

void apply_host_floor(Seconds floor, PhaseCost& phase) {
  phase.host += std::max(Seconds{}, floor - phase.total());
}

void add_recompute(Recompute recompute, const HardwareParameters& on, PassCost& cost) {
  switch (recompute) {
    case Recompute::none:
      return;
    case Recompute::selective: {
      const bool is_unfused = on.compute.attention.kernel == AttentionKernel::unfused;
      cost.backward.attention +=
          cost.forward.attention * (is_unfused ? 1.0 : on.recompute.attention);
      return;
    }
    case Recompute::full:
      return;  // after the host's floor, as another forward pass
  }
}

}  // namespace

PhaseCost& PhaseCost::operator+=(const PhaseCost& other) {
  gemm += other.gemm;
  attention += other.attention;
  streaming += other.streaming;
  tensor += other.tensor;
  context += other.context;
  expert += other.expert;
  host += other.host;
  return *this;
}

PhaseCost operator*(const PhaseCost& phase, double k) {
  return {phase.gemm * k,
          phase.attention * k,
          phase.streaming * k,
          phase.tensor * k,
          phase.context * k,
          phase.expert * k,
          phase.host * k};
}

PassCost layer_cost(const ModelSpec& model,
                    const StepQuery& query,
                    const RankShare& share,
                    const HardwareParameters& on) {
  const LayerSizes size(model, query, share);
  const MlpShape mlp = mlp_shape(model, query, share, size);
  const bool is_8bit = query.precision == Precision::fp8;
  PassCost cost;
  add_gemms(on.compute, is_8bit, size, mlp, cost);
  const AttentionShape attention = attention_shape(model, query, share);
  cost.forward.attention = attention_forward(on.compute, attention);
  cost.backward.attention = attention_backward(on.compute, attention);
  add_streaming(on, is_8bit, model.add_bias_linear, size, mlp, cost);
  apply_power(query.power_multiple, cost);
  add_tensor(query, on, size, cost);
  add_context(query, on, size, cost);
  add_expert(model, query, on, size, cost);
  add_recompute(query.recompute, on, cost);
  apply_host_floor(on.host.forward_layer, cost.forward);
  apply_host_floor(on.host.backward_layer, cost.backward);
  if (query.recompute == Recompute::full) {
    cost.backward += cost.forward;
    cost.backward.gemm -= (1.0 - on.recompute.last_product) *
                          gemm(on.compute, {mlp.rows, size.hidden, mlp.width, mlp.count}, is_8bit);
  }
  return cost;
}

PassCost embedding_cost(const ModelSpec& model,
                        const StepQuery& query,
                        const HardwareParameters& on) {
  const double elements = local_tokens(model, query) * static_cast<double>(model.hidden_size);
  PassCost cost;
  const Seconds both = stream(on.compute, Bytes{elements * on.embedding_bytes}, 4);
  cost.forward.streaming = both * 0.5;
  cost.backward.streaming = both * 0.5;
  apply_power(query.power_multiple, cost);
  const GroupShape group = strided_group(on.fabric, query.tp, 1);
  cost.forward.tensor = all_reduce(on.fabric, group, Bytes{kElement * elements});
  return cost;
}

PassCost head_cost(const ModelSpec& model,
                   const StepQuery& query,
                   const RankShare& share,
                   const HardwareParameters& on) {
  const double tokens = local_tokens(model, query);
  PassCost cost;
  add_linear(on.compute,
             {tokens, share.vocab, static_cast<double>(model.hidden_size)},
             /*is_8bit=*/false,
             cost);
  const Seconds loss = stream(on.compute, Bytes{tokens * share.vocab * on.cross_entropy_bytes}, 12);
  cost.forward.streaming = loss * 0.5;
  cost.backward.streaming = loss * 0.5;
  apply_power(query.power_multiple, cost);
  cost.forward.host = on.host.microbatch;
  return cost;
}

}  // namespace runflat::sim
