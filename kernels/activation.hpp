#pragma once

#include "kernels/data_type.hpp"

#include <cstdint>

namespace runflat::kernels {

/// y = silu(gate) * up. Gate and up of one ffn column lie side by side, so that a column is one
/// contiguous unit of linear_fc1. A bias is added to x where there is one.
/// Backward writes dx and, where y is not nullptr, y again.
struct SwigluArgs {
  const void* x = nullptr;     ///< [rows, cols, 2]: gate, up
  const void* bias = nullptr;  ///< [cols, 2], or nullptr
  const void* dy = nullptr;    ///< [rows, cols]; backward only
  void* y = nullptr;           ///< [rows, cols]
  void* dx = nullptr;          ///< [rows, cols, 2]; backward only; may be x
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  DataType type = DataType::fp32;
};

/// y = gelu(x + bias), tanh approximation: 0.5 z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))).
/// Backward writes dx and, where y is not nullptr, y again.
struct GeluArgs {
  const void* x = nullptr;     ///< [rows, cols]
  const void* bias = nullptr;  ///< [cols], or nullptr
  const void* dy = nullptr;    ///< [rows, cols]; backward only
  void* y = nullptr;           ///< [rows, cols]
  void* dx = nullptr;          ///< [rows, cols]; backward only; may be dy or x
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  DataType type = DataType::fp32;
};

void swiglu_forward(const SwigluArgs& args, Stream stream);
void swiglu_backward(const SwigluArgs& args, Stream stream);
void gelu_forward(const GeluArgs& args, Stream stream);
void gelu_backward(const GeluArgs& args, Stream stream);

void swiglu_forward_reference(const SwigluArgs& args);
void swiglu_backward_reference(const SwigluArgs& args);
void gelu_forward_reference(const GeluArgs& args);
void gelu_backward_reference(const GeluArgs& args);

}  // namespace runflat::kernels
