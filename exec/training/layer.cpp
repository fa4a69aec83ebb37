#include "exec/training/layer.hpp"

#include "core/error.hpp"
#include "core/shard_map.hpp"
#include "exec/device/host_values.hpp"
#include "exec/training/linear.hpp"

#include <cmath>
#include <fmt/format.h>
#include <vector>

namespace runflat::exec {
namespace {

ShardMap compute_map(std::int64_t num_units,
                     std::int64_t tp_size,
                     std::int64_t sync_degree,
                     bool may_replicate,
                     const char* what) {
  const auto maps = make_shard_maps(num_units, tp_size, sync_degree, may_replicate);
  if (!maps) {
    throw InfeasibleError(fmt::format("{}: {}", what, maps.error().reason));
  }
  return maps->compute;
}

}  // namespace

LayerParams layer_params_of(StageState& state, std::int64_t layer) {
  const auto find = [&](const char* name) {
    return state.find(fmt::format("decoder.layers.{}.{}", layer, name));
  };
  return {.input_norm_gain = find("input_layernorm.weight"),
          .input_norm_bias = find("input_layernorm.bias"),
          .qkv_weight = find("self_attention.linear_qkv.weight"),
          .qkv_bias = find("self_attention.linear_qkv.bias"),
          .proj_weight = find("self_attention.linear_proj.weight"),
          .proj_bias = find("self_attention.linear_proj.bias"),
          .mlp_norm_gain = find("pre_mlp_layernorm.weight"),
          .mlp_norm_bias = find("pre_mlp_layernorm.bias"),
          .fc1_weight = find("mlp.linear_fc1.weight"),
          .fc1_bias = find("mlp.linear_fc1.bias"),
          .fc2_weight = find("mlp.linear_fc2.weight"),
          .fc2_bias = find("mlp.linear_fc2.bias")};
}

LayerShape make_layer_shape(const ModelSpec& model,
                            std::int64_t tp_size,
                            std::int64_t sync_degree,
                            TpRank rank,
                            DataType type) {
  LayerShape shape{.model = model, .type = type};
  if (tp_size > model.num_attention_heads) {
    throw InfeasibleError(fmt::format("{} tensor-parallel ranks are more than {} attention heads",
                                      tp_size,
                                      model.num_attention_heads));
  }
  const ShardMap groups =
      compute_map(model.num_query_groups, tp_size, sync_degree, true, "num_query_groups");
  const ShardMap heads = ShardMap::contiguous(shape.heads_per_group(), groups.num_copies());
  const UnitRange own = heads.ranges_of(TpRank(rank.value() % groups.num_copies())).front();
  shape.groups = groups.num_units_of(rank);
  shape.first_head = own.first;
  shape.num_heads = own.num;
  shape.ffn = compute_map(model.ffn_hidden_size, tp_size, sync_degree, false, "ffn_hidden_size")
                  .num_units_of(rank);
  return shape;
}

LayerRunner::LayerRunner(Device& device,
                         TensorParallel& tp,
                         const LayerShape& shape,
                         Recompute recompute)
    : device_(device), tp_(tp), shape_(shape), recompute_(recompute) {
  const std::int64_t tokens = tp.tokens().tokens();
  full_a_ = make(tokens * hidden());
  full_b_ = make(tokens * hidden());
  staging_ = make(tp.is_split() ? (tp.size() - 1) * tp.local_tokens() * hidden() : 0);
  qkv_ = make(tokens * shape.qkv_cols());
  dq_ = make(tokens * shape.query_cols());
  dk_ = make(tokens * shape.kv_cols());
  dv_ = make(tokens * shape.kv_cols());
  activation_ = make(tokens * shape.ffn);
  dactivation_ = make(tokens * shape.ffn);
  if (recompute == Recompute::selective) {
    context_ = make(tokens * shape.query_cols());
    lse_ = make_statistics(tokens * shape.groups * shape.num_heads);
  }
  if (recompute == Recompute::full) {
    recompute_ = Recompute::none;  // of the one layer that is alive at a time
    again_ = make_activations();
    recompute_ = Recompute::full;
  }
}

Buffer LayerRunner::make(std::int64_t num) {
  return device_.allocate(num * kernels::size_of(shape_.type));
}

Buffer LayerRunner::make_statistics(std::int64_t num) {
  return device_.allocate(num * kernels::size_of(kernels::accumulate_type(shape_.type)));
}

LayerActivations LayerRunner::make_activations() {
  const std::int64_t tokens = tp_.tokens().tokens();
  const std::int64_t local = tp_.local_tokens();
  LayerActivations act;
  act.x = make(local * hidden());
  if (recompute_ == Recompute::full) {
    return act;
  }
  act.input_norm = make(local * hidden());
  act.input_mean = make_statistics(local);
  act.input_rstd = make_statistics(local);
  act.q = make(tokens * shape_.query_cols());
  act.k = make(tokens * shape_.kv_cols());
  act.v = make(tokens * shape_.kv_cols());
  if (recompute_ == Recompute::none) {
    act.context = make(tokens * shape_.query_cols());
    act.lse = make_statistics(tokens * shape_.groups * shape_.num_heads);
  }
  act.z = make(local * hidden());
  act.mlp_norm = make(local * hidden());
  act.mlp_mean = make_statistics(local);
  act.mlp_rstd = make_statistics(local);
  act.fc1 = make(tokens * shape_.fc1_cols());
  return act;
}

void LayerRunner::set_rotary(double base) {
  const std::int64_t half = shape_.head_size() / 2;
  std::vector<double> cosines;
  std::vector<double> sines;
  for (std::int64_t position = 0; position < tp_.tokens().seq_length; ++position) {
    for (std::int64_t i = 0; i < half; ++i) {
      const double exponent = -static_cast<double>(i) / static_cast<double>(half);
      const double angle = static_cast<double>(position) * std::pow(base, exponent);
      cosines.push_back(std::cos(angle));
      sines.push_back(std::sin(angle));
    }
  }
  const auto upload = [&](const std::vector<double>& values) {
    Buffer table = make_statistics(static_cast<std::int64_t>(values.size()));
    write_values(device_, table.data(), values, kernels::accumulate_type(shape_.type));
    return table;
  };
  cos_ = upload(cosines);
  sin_ = upload(sines);
}

Buffer& LayerRunner::context(LayerActivations& act) {
  return recompute_ == Recompute::selective ? context_ : act.context;
}

Buffer& LayerRunner::lse(LayerActivations& act) {
  return recompute_ == Recompute::selective ? lse_ : act.lse;
}

void* LayerRunner::at(void* data, std::int64_t offset) const {
  return static_cast<std::byte*>(data) + offset * kernels::size_of(shape_.type);
}

const void* LayerRunner::at(const void* data, std::int64_t offset) const {
  return static_cast<const std::byte*>(data) + offset * kernels::size_of(shape_.type);
}

kernels::QkvSplitArgs LayerRunner::split_args(void* q, void* k, void* v) const {
  return {.qkv = qkv_.data(),
          .q = q,
          .k = k,
          .v = v,
          .cos = cos_.data(),
          .sin = sin_.data(),
          .tokens = tp_.tokens().tokens(),
          .batch_size = tp_.tokens().batch_size,
          .groups = shape_.groups,
          .heads_per_group = shape_.heads_per_group(),
          .first_head = shape_.first_head,
          .num_heads = shape_.num_heads,
          .head_size = shape_.head_size(),
          .type = shape_.type};
}

kernels::AttentionShape LayerRunner::attention_shape() const {
  return {.seq_length = tp_.tokens().seq_length,
          .batch_size = tp_.tokens().batch_size,
          .heads = shape_.groups * shape_.num_heads,
          .groups = shape_.groups,
          .head_size = shape_.head_size(),
          .scale = 1.0 / std::sqrt(static_cast<double>(shape_.head_size())),
          .deterministic = shape_.deterministic,
          .type = shape_.type};
}

ParamRef LayerRunner::used_proj(const ParamRef& weight) const {
  const std::int64_t first = shape_.first_head * shape_.head_size() * hidden();
  return {.weight = at(weight.weight, first),
          .grad = static_cast<std::byte*>(weight.grad) +
                  first * kernels::size_of(kernels::accumulate_type(shape_.type)),
          .num = shape_.query_cols() * hidden()};
}

void* LayerRunner::full_of(void* own) {
  return tp_.make_full(device_, own, full_a_.data(), hidden());
}

void LayerRunner::from_hidden(void* own, const ParamRef& weight, void* y, std::int64_t cols) {
  void* full = full_of(own);
  tp_.gather_while(full, hidden(), [&](std::int64_t first, std::int64_t num) {
    const Linear linear{device_, shape_.type, num, hidden()};
    linear.from_hidden(at(full, first * hidden()), weight.weight, at(y, first * cols), cols);
  });
}

void LayerRunner::to_hidden(const void* x, const ParamRef& weight, std::int64_t cols) {
  const auto multiply = [&](std::int64_t first, std::int64_t num) {
    const Linear linear{device_, shape_.type, num, hidden()};
    linear.to_hidden(
        at(x, first * cols), weight.weight, at(full_b_.data(), first * hidden()), cols);
  };
  tp_.reduce_while(device_, full_b_.data(), staging_.data(), hidden(), multiply);
}

void LayerRunner::norm(const void* x,
                       const ParamRef& gain,
                       const ParamRef& bias,
                       Buffer& y,
                       Buffer& mean,
                       Buffer& rstd) {
  device_.norm_forward({.x = x,
                        .gain = gain.weight,
                        .bias = bias.weight,
                        .y = y.data(),
                        .mean = mean.data(),
                        .rstd = rstd.data(),
                        .rows = tp_.local_tokens(),
                        .cols = hidden(),
                        .epsilon = shape_.epsilon,
                        .type = shape_.type});
}

void LayerRunner::add_bias(void* y, const ParamRef& bias, std::int64_t rows, std::int64_t cols) {
  if (bias) {
    device_.add_bias(
        {.y = y, .bias = bias.weight, .rows = rows, .cols = cols, .type = shape_.type});
  }
}

void LayerRunner::forward(const LayerParams& params, LayerActivations& act, void* out) {
  LayerActivations& saved = recompute_ == Recompute::full ? again_ : act;
  forward_attention(params, saved, act.x.data());
  forward_fc1(params, saved);
  forward_fc2(params, saved, out);
}

void LayerRunner::forward_attention(const LayerParams& params, LayerActivations& act, void* x) {
  const std::int64_t local = tp_.local_tokens();
  norm(x,
       params.input_norm_gain,
       params.input_norm_bias,
       act.input_norm,
       act.input_mean,
       act.input_rstd);
  from_hidden(act.input_norm.data(), params.qkv_weight, qkv_.data(), shape_.qkv_cols());
  add_bias(qkv_.data(), params.qkv_bias, tp_.tokens().tokens(), shape_.qkv_cols());
  device_.qkv_split(split_args(act.q.data(), act.k.data(), act.v.data()));
  core_attention(act);
  to_hidden(context(act).data(), used_proj(params.proj_weight), shape_.query_cols());
  void* own = tp_.own_part(full_b_.data(), hidden());
  add_bias(own, params.proj_bias, local, hidden());
  device_.norm_forward({.x = x,
                        .residual = own,
                        .sum = act.z.data(),
                        .gain = params.mlp_norm_gain.weight,
                        .bias = params.mlp_norm_bias.weight,
                        .y = act.mlp_norm.data(),
                        .mean = act.mlp_mean.data(),
                        .rstd = act.mlp_rstd.data(),
                        .rows = local,
                        .cols = hidden(),
                        .epsilon = shape_.epsilon,
                        .type = shape_.type});
}

void LayerRunner::core_attention(LayerActivations& act) {
  device_.attention_forward({.shape = attention_shape(),
                             .q = act.q.data(),
                             .k = act.k.data(),
                             .v = act.v.data(),
                             .out = context(act).data(),
                             .lse = lse(act).data()});
}

void LayerRunner::forward_fc1(const LayerParams& params, LayerActivations& act) {
  from_hidden(act.mlp_norm.data(), params.fc1_weight, act.fc1.data(), shape_.fc1_cols());
}

void LayerRunner::activation(const LayerParams& params, LayerActivations& act) {
  if (shape_.model.gated_linear_unit) {
    device_.swiglu_forward({.x = act.fc1.data(),
                            .bias = params.fc1_bias.weight,
                            .y = activation_.data(),
                            .rows = tp_.tokens().tokens(),
                            .cols = shape_.ffn,
                            .type = shape_.type});
  } else {
    device_.gelu_forward({.x = act.fc1.data(),
                          .bias = params.fc1_bias.weight,
                          .y = activation_.data(),
                          .rows = tp_.tokens().tokens(),
                          .cols = shape_.ffn,
                          .type = shape_.type});
  }
}

void LayerRunner::forward_fc2(const LayerParams& params, LayerActivations& act, void* out) {
  const std::int64_t local = tp_.local_tokens();
  activation(params, act);
  to_hidden(activation_.data(), params.fc2_weight, shape_.ffn);
  void* own = tp_.own_part(full_b_.data(), hidden());
  add_bias(own, params.fc2_bias, local, hidden());
  device_.add(
      {.a = act.z.data(), .b = own, .y = out, .num = local * hidden(), .type = shape_.type});
}

}  // namespace runflat::exec
