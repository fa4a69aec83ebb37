#pragma once

#include "core/units.hpp"

namespace runflat::sim {

/// What a GPU can do at most, from its data sheet.
struct GpuParameters {
  FlopsPerSecond peak_16bit{};  ///< dense fp16 or bf16
  FlopsPerSecond peak_8bit{};   ///< dense fp8; 0: the GPU has none
  BytesPerSecond hbm_bandwidth{};
  Bytes hbm_capacity{};
  double num_sms = 0.0;
  Watts tdp{};
};

/// Matrix multiplication: `efficiency` of the peak for a large one. A K extent of `half_depth`
/// costs as much again for filling and draining the pipeline, and the last wave of tiles wastes
/// `tail_waves` waves of 128 x 128 tiles on average.
struct GemmParameters {
  double efficiency = 0.7;
  double efficiency_8bit = 0.5;
  double half_depth = 64.0;
  double tail_waves = 0.8;
};

/// Memory-bound kernels: share of the HBM bandwidth, and what a launch costs beside it.
struct StreamingParameters {
  double efficiency = 0.8;
  Seconds launch{};
};

enum class AttentionKernel {
  unfused,  ///< batched GEMMs and a softmax that write the score matrix (no mask is skipped)
  flash,    ///< fused; skips the masked half
};

struct AttentionParameters {
  AttentionKernel kernel = AttentionKernel::flash;
  /// Flash: share of the 16-bit peak over long sequences of large heads. `half_length` queries cost
  /// as much again for the diagonal and for filling the pipeline, heads of `half_size` for the
  /// exponentials, of which there is one per score.
  double forward_efficiency = 0.7;
  double forward_half_length = 850.0;
  double forward_half_size = 0.0;
  double backward_efficiency = 0.6;
  double backward_half_length = 1100.0;
  double backward_half_size = 0.0;
  double gemm_efficiency = 0.6;   ///< unfused: share of the peak of the batched GEMMs
  double score_efficiency = 0.8;  ///< unfused: of the streaming rate, softmax and dropout
};

struct ComputeParameters {
  GpuParameters gpu;
  GemmParameters gemm;
  StreamingParameters streaming;
  AttentionParameters attention;
};

/// `count` multiplications of [m, k] with [k, n] in one launch.
struct GemmShape {
  double m = 0.0;
  double n = 0.0;
  double k = 0.0;
  double count = 1.0;
};

/// max(compute, memory) + launch.
[[nodiscard]] Seconds gemm(const ComputeParameters& on, const GemmShape& shape, bool is_8bit);

/// `num_kernels` memory-bound kernels that read and write `traffic` in all.
[[nodiscard]] Seconds stream(const ComputeParameters& on, Bytes traffic, int num_kernels);

/// Attention of `num_heads` query heads over the whole batch: `num_queries` x `num_keys` scores per
/// head and sequence, causal.
struct AttentionShape {
  double num_heads = 0.0;  ///< heads of this rank times sequences
  double head_size = 0.0;
  double num_queries = 0.0;
  double num_keys = 0.0;
};

[[nodiscard]] Seconds attention_forward(const ComputeParameters& on, const AttentionShape& shape);
[[nodiscard]] Seconds attention_backward(const ComputeParameters& on, const AttentionShape& shape);

/// Speed of a GPU at `power_multiple` times its TDP, relative to that at TDP:
/// ln speed = 0.779 x - 0.811 x^2 with x = ln(power_multiple), the two published points of the
/// nonuniform-TP paper (1.1 -> 1.069, 1.2 -> 1.122). 1 at 1.
[[nodiscard]] double speed_at_power(double power_multiple);

}  // namespace runflat::sim
