#pragma once

#include "core/model.hpp"
#include "core/training.hpp"
#include "exec/device/device.hpp"
#include "exec/training/stage_state.hpp"
#include "exec/training/tensor_parallel.hpp"

#include <cstdint>

namespace runflat::exec {

/// The weights of one transformer layer on this rank.
struct LayerParams {
  ParamRef input_norm_gain, input_norm_bias;
  ParamRef qkv_weight, qkv_bias;    ///< [groups * (heads_per_group + 2) * head_size, h]
  ParamRef proj_weight, proj_bias;  ///< [groups * heads_per_group * head_size, h]
  ParamRef mlp_norm_gain, mlp_norm_bias;
  ParamRef fc1_weight, fc1_bias;  ///< [ffn (, 2), h]
  ParamRef fc2_weight, fc2_bias;  ///< [ffn, h]
};
[[nodiscard]] LayerParams layer_params_of(StageState& state, std::int64_t layer);

/// What this rank computes of every layer.
struct LayerShape {
  ModelSpec model;
  std::int64_t groups = 0;  ///< kv-groups held
  /// Query heads of each of them that this rank computes: all, unless ranks share the group.
  std::int64_t first_head = 0;
  std::int64_t num_heads = 0;
  std::int64_t ffn = 0;  ///< ffn columns
  double epsilon = 1e-5;
  bool deterministic = false;
  DataType type = DataType::fp32;

  [[nodiscard]] std::int64_t heads_per_group() const {
    return model.num_attention_heads / model.num_query_groups;
  }
  [[nodiscard]] std::int64_t head_size() const { return model.kv_channels; }
  [[nodiscard]] std::int64_t qkv_cols() const {
    return groups * (heads_per_group() + 2) * head_size();
  }
  [[nodiscard]] std::int64_t query_cols() const { return groups * num_heads * head_size(); }
  [[nodiscard]] std::int64_t kv_cols() const { return groups * head_size(); }
  [[nodiscard]] std::int64_t fc1_cols() const { return model.gated_linear_unit ? 2 * ffn : ffn; }
};
[[nodiscard]] LayerShape make_layer_shape(const ModelSpec& model,
                                          std::int64_t tp_size,
                                          std::int64_t sync_degree,
                                          TpRank rank,
                                          DataType type);

/// What the backward pass of a layer reads of its forward pass.
struct LayerActivations {
  Buffer x;  ///< [local tokens, h]: the layer's input
  Buffer input_norm, input_mean, input_rstd;
  Buffer q, k, v;       ///< [tokens, heads, head_size]
  Buffer context, lse;  ///< of attention
  Buffer z;             ///< [local tokens, h]: input of the MLP's norm
  Buffer mlp_norm, mlp_mean, mlp_rstd;
  Buffer fc1;  ///< [tokens, fc1_cols], before the activation
};

/// Runs transformer layers of one shape, forward and backward. Scratch memory is shared by all of
/// them; activations are the caller's.
class LayerRunner {
 public:
  LayerRunner(Device& device, TensorParallel& tp, const LayerShape& shape, Recompute recompute);

  /// Memory of one layer and microbatch. With full recomputation that is the input alone, and with
  /// selective recomputation all but what attention made.
  [[nodiscard]] LayerActivations make_activations();

  /// `out` [local tokens, h] does not overlap the input, act.x.
  void forward(const LayerParams& params, LayerActivations& act, void* out);
  /// `grad` [local tokens, h] is the gradient of the output, and becomes that of the input. The
  /// gradients of weights are added to what is there, unless it is the first microbatch; those of
  /// norms and biases always.
  void backward(const LayerParams& params, LayerActivations& act, void* grad, bool is_first);

  /// RoPE's tables, [seq_length, head_size / 2] of the accumulate type; empty: no RoPE.
  void set_rotary(double base);

 private:
  void forward_attention(const LayerParams& params, LayerActivations& act, void* x);
  void forward_fc1(const LayerParams& params, LayerActivations& act);
  void forward_fc2(const LayerParams& params, LayerActivations& act, void* out);
  void core_attention(LayerActivations& act);
  void backward_mlp(const LayerParams& params, LayerActivations& act, void* grad);
  void backward_attention(const LayerParams& params, LayerActivations& act, void* x, void* grad);
  /// The gradient of a divided layer's input, in this rank's own part of full_b_, and of its weight
  /// [cols, h], where `dy` [tokens, cols] is that of its output and `input` was its input.
  void backward_column(const void* dy, void* input, const ParamRef& weight, std::int64_t cols);

  [[nodiscard]] Buffer& context(LayerActivations& act);
  [[nodiscard]] Buffer& lse(LayerActivations& act);
  [[nodiscard]] kernels::QkvSplitArgs split_args(void* q, void* k, void* v) const;
  [[nodiscard]] kernels::AttentionShape attention_shape() const;
  /// The proj weight's rows of the heads that this rank computes.
  [[nodiscard]] ParamRef used_proj(const ParamRef& weight) const;

  /// Where the full tensor is, or will be gathered, of which this rank's own part is `own`.
  void* full_of(void* own);
  /// y [tokens, cols] = the full tensor of `own` [local tokens, h] times the weight transposed.
  void from_hidden(void* own, const ParamRef& weight, void* y, std::int64_t cols);
  /// The sum over ranks of x [tokens, cols] times the weight, in the own part of full_b_.
  void to_hidden(const void* x, const ParamRef& weight, std::int64_t cols);
  void norm(const void* x,
            const ParamRef& gain,
            const ParamRef& bias,
            Buffer& y,
            Buffer& mean,
            Buffer& rstd);
  /// `grad` += the gradient through the norm of z.
  void norm_grad(const void* dy,
                 const void* z,
                 const ParamRef& gain,
                 const ParamRef& bias,
                 const Buffer& mean,
                 const Buffer& rstd,
                 void* grad);
  void add_bias(void* y, const ParamRef& bias, std::int64_t rows, std::int64_t cols);
  void bias_grad(const void* dy, const ParamRef& bias, std::int64_t rows, std::int64_t cols);
  void activation(const LayerParams& params, LayerActivations& act);
  void activation_grad(const LayerParams& params, LayerActivations& act);
  /// The address of an element of a tensor of the layer's type.
  [[nodiscard]] void* at(void* data, std::int64_t offset) const;
  [[nodiscard]] const void* at(const void* data, std::int64_t offset) const;
  [[nodiscard]] std::int64_t hidden() const { return shape_.model.hidden_size; }
  [[nodiscard]] Buffer make(std::int64_t num);
  [[nodiscard]] Buffer make_statistics(std::int64_t num);

  Device& device_;
  TensorParallel& tp_;
  LayerShape shape_;
  Recompute recompute_;
  bool is_first_ = false;  ///< microbatch of the step, in the backward pass that runs
  Buffer cos_, sin_;
  // Scratch, by width.
  Buffer full_a_, full_b_;           ///< [tokens, h]
  Buffer staging_;                   ///< [(tp - 1) * local tokens, h], where tokens are divided
  Buffer qkv_;                       ///< [tokens, qkv_cols]
  Buffer dq_, dk_, dv_;              ///< [tokens, heads, head_size]
  Buffer activation_, dactivation_;  ///< [tokens, ffn]
  Buffer context_, lse_;             ///< recomputed attention
  LayerActivations again_;           ///< recomputed layer
};

}  // namespace runflat::exec
