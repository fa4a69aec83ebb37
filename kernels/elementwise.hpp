#pragma once

#include "kernels/data_type.hpp"

#include <cstdint>

namespace runflat::kernels {

/// y = a + b; y may be either.
struct AddArgs {
  const void* a = nullptr;
  const void* b = nullptr;
  void* y = nullptr;
  std::int64_t num = 0;
  DataType type = DataType::fp32;
};

/// y[row, col] += bias[col].
struct AddBiasArgs {
  void* y = nullptr;           ///< [rows, cols]
  const void* bias = nullptr;  ///< [cols]
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  DataType type = DataType::fp32;
};

/// dbias[col] += the sum over rows of dy[row, col], in a fixed order.
struct BiasGradArgs {
  const void* dy = nullptr;   ///< [rows, cols]
  void* dbias = nullptr;      ///< [cols], accumulate type
  void* workspace = nullptr;  ///< bias_grad_workspace() bytes; unused on the host
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  DataType type = DataType::fp32;
};

[[nodiscard]] std::int64_t bias_grad_workspace(std::int64_t rows, std::int64_t cols, DataType type);

/// dst = src, rounded to nearest even; types fp32, fp64, bf16. dst may be src where sizes agree.
struct CastArgs {
  const void* src = nullptr;
  void* dst = nullptr;
  std::int64_t num = 0;
  DataType src_type = DataType::fp32;
  DataType dst_type = DataType::bf16;
};

void add(const AddArgs& args, Stream stream);
void add_bias(const AddBiasArgs& args, Stream stream);
void bias_grad(const BiasGradArgs& args, Stream stream);
void cast(const CastArgs& args, Stream stream);

void add_reference(const AddArgs& args);
void add_bias_reference(const AddBiasArgs& args);
void bias_grad_reference(const BiasGradArgs& args);
void cast_reference(const CastArgs& args);

}  // namespace runflat::kernels
