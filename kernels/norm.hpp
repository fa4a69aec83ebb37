#pragma once

#include "kernels/data_type.hpp"

#include <cstdint>

namespace runflat::kernels {

/// y = (z - mean) * rstd * gain + bias over the last axis, with z = x + residual. RMSNorm where
/// `bias` is nullptr: y = z * rstd * gain with rstd = 1 / sqrt(mean(z^2) + epsilon). Statistics are
/// of the accumulate type of `type`. Pointers are aligned to their elements.
struct NormForwardArgs {
  const void* x = nullptr;         ///< [rows, cols]
  const void* residual = nullptr;  ///< [rows, cols], or nullptr: z = x
  void* sum = nullptr;             ///< [rows, cols]: z, where there is a residual; may be x or it
  const void* gain = nullptr;      ///< [cols]
  const void* bias = nullptr;      ///< [cols]; nullptr: RMSNorm
  void* y = nullptr;               ///< [rows, cols]; may be x where there is no residual
  void* mean = nullptr;            ///< [rows]; LayerNorm only
  void* rstd = nullptr;            ///< [rows]
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  double epsilon = 1e-5;
  DataType type = DataType::fp32;
};

/// dx = the gradient of z (+ `dresidual`, the gradient that reaches z by another way); gain and
/// bias gradients are added to what is there.
struct NormBackwardArgs {
  const void* dy = nullptr;         ///< [rows, cols]
  const void* z = nullptr;          ///< [rows, cols]: what was normalised
  const void* gain = nullptr;       ///< [cols]
  const void* mean = nullptr;       ///< [rows]; nullptr: RMSNorm
  const void* rstd = nullptr;       ///< [rows]
  const void* dresidual = nullptr;  ///< [rows, cols], or nullptr
  void* dx = nullptr;               ///< [rows, cols]; may be dy or dresidual
  void* dgain = nullptr;            ///< [cols], accumulate type
  void* dbias = nullptr;            ///< [cols], accumulate type; LayerNorm only
  void* workspace = nullptr;        ///< norm_backward_workspace() bytes; unused on the host
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  DataType type = DataType::fp32;
};

[[nodiscard]] std::int64_t norm_backward_workspace(std::int64_t rows,
                                                   std::int64_t cols,
                                                   DataType type);

/// In device memory, in stream order, without allocating; reductions are deterministic.
void norm_forward(const NormForwardArgs& args, Stream stream);
void norm_backward(const NormBackwardArgs& args, Stream stream);

/// The same in host memory, at once.
void norm_forward_reference(const NormForwardArgs& args);
void norm_backward_reference(const NormBackwardArgs& args);

}  // namespace runflat::kernels
