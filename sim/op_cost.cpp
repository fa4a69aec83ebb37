#include "sim/op_cost.hpp"

#include <algorithm>
#include <cmath>

namespace runflat::sim {
namespace {

constexpr double kTile = 128.0 * 128.0;
// Bytes per element of the score matrix that softmax (read, write) and dropout (read, write, mask)
// move, in fp16.
constexpr double kScoreBytesForward = 9.0;
constexpr double kScoreBytesBackward = 11.0;

/// One of the batched GEMMs of unfused attention.
Seconds score_gemm(const ComputeParameters& on, const AttentionShape& s, double n, double k) {
  const double flops = 2.0 * s.num_queries * n * k * s.num_heads;
  const double bytes = 2.0 * (s.num_queries * k + n * k + s.num_queries * n) * s.num_heads;
  const double compute = flops / (on.gpu.peak_16bit.value * on.attention.gemm_efficiency);
  const double memory = bytes / (on.gpu.hbm_bandwidth.value * on.streaming.efficiency);
  return Seconds(std::max(compute, memory)) + on.streaming.launch;
}

/// Both batched GEMMs: scores from queries and keys, outputs from scores and values.
Seconds score_gemms(const ComputeParameters& on, const AttentionShape& s) {
  return score_gemm(on, s, s.num_keys, s.head_size) + score_gemm(on, s, s.head_size, s.num_keys);
}

Seconds score_stream(const ComputeParameters& on, const AttentionShape& s, double bytes) {
  const double scores = s.num_heads * s.num_queries * s.num_keys;
  return stream(on, Bytes{scores * bytes / on.attention.score_efficiency}, 2);
}

/// FLOPs of causal attention's forward pass, masked half left out.
double causal_flops(const AttentionShape& s) {
  return 2.0 * s.num_heads * s.num_queries * s.num_keys * s.head_size;
}

/// The fused kernel with `work` times the forward's FLOPs.
Seconds flash(const ComputeParameters& on,
              const AttentionShape& s,
              double work,
              double efficiency,
              double half_length,
              double half_size) {
  const double rate = on.gpu.peak_16bit.value * efficiency;
  const double overhead = half_length / s.num_queries + half_size / s.head_size;
  return Seconds(work * causal_flops(s) * (1.0 + overhead) / rate) + on.streaming.launch;
}

}  // namespace

Seconds gemm(const ComputeParameters& on, const GemmShape& shape, bool is_8bit) {
  const double rate = is_8bit ? on.gpu.peak_8bit.value * on.gemm.efficiency_8bit
                              : on.gpu.peak_16bit.value * on.gemm.efficiency;
  const double outputs =
      shape.m * shape.n * shape.count + on.gemm.tail_waves * on.gpu.num_sms * kTile;
  const double compute = 2.0 * outputs * (shape.k + on.gemm.half_depth) / rate;
  const double element = is_8bit ? 1.5 : 2.0;  // 8-bit operands, 16-bit result
  const double bytes =
      element * (shape.m * shape.k + shape.n * shape.k + shape.m * shape.n) * shape.count;
  const double memory = bytes / (on.gpu.hbm_bandwidth.value * on.streaming.efficiency);
  return Seconds(std::max(compute, memory)) + on.streaming.launch;
}

Seconds stream(const ComputeParameters& on, Bytes traffic, int num_kernels) {
  return Seconds(traffic.value / (on.gpu.hbm_bandwidth.value * on.streaming.efficiency)) +
         on.streaming.launch * num_kernels;
}

Seconds attention_forward(const ComputeParameters& on, const AttentionShape& shape) {
  if (on.attention.kernel == AttentionKernel::unfused) {
    return score_gemms(on, shape) + score_stream(on, shape, kScoreBytesForward);
  }
  const AttentionParameters& attention = on.attention;
  return flash(on,
               shape,
               1.0,
               attention.forward_efficiency,
               attention.forward_half_length,
               attention.forward_half_size);
}

Seconds attention_backward(const ComputeParameters& on, const AttentionShape& shape) {
  if (on.attention.kernel == AttentionKernel::unfused) {
    return 2.0 * score_gemms(on, shape) + score_stream(on, shape, kScoreBytesBackward);
  }
  // Five products of this size against the forward's two, with the scores computed again.
  const AttentionParameters& attention = on.attention;
  return flash(on,
               shape,
               2.5,
               attention.backward_efficiency,
               attention.backward_half_length,
               attention.backward_half_size);
}

double speed_at_power(double power_multiple) {
  const double x = std::log(power_multiple);
  return std::exp(0.779 * x - 0.811 * x * x);
}

}  // namespace runflat::sim
