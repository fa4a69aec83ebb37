// The backward pass of a layer. The gradient of a divided layer's input travels while the gradient
// of its weight is computed, and where the input has to be gathered again, that travels while the
// gradient of the input is computed.

#include "exec/training/layer.hpp"
#include "exec/training/linear.hpp"

namespace runflat::exec {

void LayerRunner::backward(const LayerParams& params,
                           LayerActivations& act,
                           void* grad,
                           bool is_first) {
  is_first_ = is_first;
  LayerActivations& saved = recompute_ == Recompute::full ? again_ : act;
  if (recompute_ == Recompute::full) {
    forward_attention(params, saved, act.x.data());
    forward_fc1(params, saved);
  }
  backward_mlp(params, saved, grad);
  if (recompute_ == Recompute::selective) {
    core_attention(saved);
  }
  backward_attention(params, saved, act.x.data(), grad);
}

void LayerRunner::norm_grad(const void* dy,
                            const void* z,
                            const ParamRef& gain,
                            const ParamRef& bias,
                            const Buffer& mean,
                            const Buffer& rstd,
                            void* grad) {
  device_.norm_backward({.dy = dy,
                         .z = z,
                         .gain = gain.weight,
                         .mean = bias ? mean.data() : nullptr,
                         .rstd = rstd.data(),
                         .dresidual = grad,
                         .dx = grad,
                         .dgain = gain.grad,
                         .dbias = bias.grad,
                         .rows = tp_.local_tokens(),
                         .cols = hidden(),
                         .type = shape_.type});
}

void LayerRunner::bias_grad(const void* dy,
                            const ParamRef& bias,
                            std::int64_t rows,
                            std::int64_t cols) {
  if (bias) {
    device_.bias_grad(
        {.dy = dy, .dbias = bias.grad, .rows = rows, .cols = cols, .type = shape_.type});
  }
}

void LayerRunner::backward_column(const void* dy,
                                  void* input,
                                  const ParamRef& weight,
                                  std::int64_t cols) {
  const Linear linear{device_, shape_.type, tp_.tokens().tokens(), hidden()};
  void* full = full_of(input);
  const Ticket gathered = tp_.gather(full, hidden());
  linear.to_hidden(dy, weight.weight, full_b_.data(), cols);
  const Ticket reduced = tp_.reduce(full_b_.data(), hidden());
  tp_.join(gathered);
  linear.weight_grad(dy, full, weight.grad, cols, is_first_);
  tp_.join(reduced);
}

void LayerRunner::activation_grad(const LayerParams& params, LayerActivations& act) {
  if (shape_.model.gated_linear_unit) {
    device_.swiglu_backward({.x = act.fc1.data(),
                             .bias = params.fc1_bias.weight,
                             .dy = dactivation_.data(),
                             .y = activation_.data(),
                             .dx = act.fc1.data(),
                             .rows = tp_.tokens().tokens(),
                             .cols = shape_.ffn,
                             .type = shape_.type});
  } else {
    device_.gelu_backward({.x = act.fc1.data(),
                           .bias = params.fc1_bias.weight,
                           .dy = dactivation_.data(),
                           .y = activation_.data(),
                           .dx = act.fc1.data(),
                           .rows = tp_.tokens().tokens(),
                           .cols = shape_.ffn,
                           .type = shape_.type});
  }
}

void LayerRunner::backward_mlp(const LayerParams& params, LayerActivations& act, void* grad) {
  const std::int64_t tokens = tp_.tokens().tokens();
  const Linear linear{device_, shape_.type, tokens, hidden()};
  bias_grad(grad, params.fc2_bias, tp_.local_tokens(), hidden());
  from_hidden(grad, params.fc2_weight, dactivation_.data(), shape_.ffn);
  const void* full_grad = tp_.is_split() ? full_a_.data() : grad;
  activation_grad(params, act);  // act.fc1 becomes its gradient
  linear.weight_grad(activation_.data(), full_grad, params.fc2_weight.grad, shape_.ffn, is_first_);
  bias_grad(act.fc1.data(), params.fc1_bias, tokens, shape_.fc1_cols());
  backward_column(act.fc1.data(), act.mlp_norm.data(), params.fc1_weight, shape_.fc1_cols());
  norm_grad(tp_.own_part(full_b_.data(), hidden()),
            act.z.data(),
            params.mlp_norm_gain,
            params.mlp_norm_bias,
            act.mlp_mean,
            act.mlp_rstd,
            grad);
}

void LayerRunner::backward_attention(const LayerParams& params,
                                     LayerActivations& act,
                                     void* x,
                                     void* grad) {
  const std::int64_t tokens = tp_.tokens().tokens();
  const Linear linear{device_, shape_.type, tokens, hidden()};
  const ParamRef proj = used_proj(params.proj_weight);
  bias_grad(grad, params.proj_bias, tp_.local_tokens(), hidden());
  void* dcontext = qkv_.data();  // until the merge
  from_hidden(grad, proj, dcontext, shape_.query_cols());
  const void* full_grad = tp_.is_split() ? full_a_.data() : grad;
  linear.weight_grad(context(act).data(), full_grad, proj.grad, shape_.query_cols(), is_first_);
  device_.attention_backward({.shape = attention_shape(),
                              .q = act.q.data(),
                              .k = act.k.data(),
                              .v = act.v.data(),
                              .out = context(act).data(),
                              .lse = lse(act).data(),
                              .dout = dcontext,
                              .dq = dq_.data(),
                              .dk = dk_.data(),
                              .dv = dv_.data()});
  device_.qkv_merge(split_args(dq_.data(), dk_.data(), dv_.data()));
  bias_grad(qkv_.data(), params.qkv_bias, tokens, shape_.qkv_cols());
  backward_column(qkv_.data(), act.input_norm.data(), params.qkv_weight, shape_.qkv_cols());
  norm_grad(tp_.own_part(full_b_.data(), hidden()),
            x,
            params.input_norm_gain,
            params.input_norm_bias,
            act.input_mean,
            act.input_rstd,
            grad);
}

}  // namespace runflat::exec
