#pragma once

#include "exec/device/device.hpp"

#include <cstdint>

namespace runflat::exec {

/// The matrix products of a linear layer over `rows` tokens. Weights are [cols, h]: of a
/// column-parallel layer as Megatron stores them, of a row-parallel one transposed.
struct Linear {
  Device& device;
  DataType type;
  std::int64_t rows;
  std::int64_t hidden;

  /// y [rows, cols] = x [rows, h] w^T.
  void from_hidden(const void* x, const void* weight, void* y, std::int64_t cols) const;
  /// y [rows, h] = x [rows, cols] w.
  void to_hidden(const void* x, const void* weight, void* y, std::int64_t cols) const;
  /// dw [cols, h] = a [rows, cols]^T b [rows, h], in the accumulate type; added to what is there
  /// unless it is the first microbatch.
  void weight_grad(
      const void* a, const void* b, void* dweight, std::int64_t cols, bool is_first) const;
};

}  // namespace runflat::exec
