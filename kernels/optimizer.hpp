#pragma once

#include "kernels/data_type.hpp"

#include <cstdint>
#include <span>

namespace runflat::kernels {

/// One run of parameters that one AdamW call updates.
struct AdamwTensor {
  const void* grad = nullptr;  ///< accumulate type
  void* master = nullptr;      ///< accumulate type
  void* exp_avg = nullptr;     ///< accumulate type
  void* exp_avg_sq = nullptr;  ///< accumulate type
  void* weight = nullptr;      ///< weight type: the rounded master; nullptr: master is the weight
  std::int64_t num = 0;
  double weight_decay = 0.0;
};

/// AdamW with decoupled weight decay, over all tensors in one call:
///   g = scale * grad,  m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,
///   p -= lr * (m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + epsilon) + weight_decay * p).
struct AdamwArgs {
  std::span<const AdamwTensor> tensors;  ///< in host memory, read before the call returns
  const double* scale = nullptr;         ///< one number, in the memory of the tensors
  double lr = 0.0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  std::int64_t step = 1;  ///< of this update, from 1
  DataType weight_type = DataType::fp32;
};

/// A run of gradients whose squares count.
struct GradRun {
  const void* grad = nullptr;  ///< accumulate type
  std::int64_t num = 0;
};

/// sum += the squares of all elements of all runs, in fp64 and in a fixed order.
struct SquaredSumArgs {
  std::span<const GradRun> runs;   ///< in host memory, read before the call returns
  double* sum = nullptr;           ///< one number, in the memory of the runs
  void* workspace = nullptr;       ///< squared_sum_workspace() bytes; unused on the host
  DataType type = DataType::fp32;  ///< of the gradients
};

[[nodiscard]] std::int64_t squared_sum_workspace();

/// From the gradients' squared sum and the number of tokens: norm = sqrt(sum) / tokens, and
/// scale = min(1, max_norm / (norm + 1e-6)) / tokens (max_norm 0: no clipping), as Megatron; 0
/// tokens count as 1. A norm that is not finite gives a NaN scale.
struct ClipScaleArgs {
  const double* squared_sum = nullptr;
  const double* tokens = nullptr;
  double* norm = nullptr;
  double* scale = nullptr;
  double max_norm = 1.0;
};

void adamw(const AdamwArgs& args, Stream stream);
void squared_sum(const SquaredSumArgs& args, Stream stream);
void clip_scale(const ClipScaleArgs& args, Stream stream);

void adamw_reference(const AdamwArgs& args);
void squared_sum_reference(const SquaredSumArgs& args);
void clip_scale_reference(const ClipScaleArgs& args);

}  // namespace runflat::kernels
