#pragma once

#include "kernels/data_type.hpp"

#include <cstdint>

namespace runflat::kernels {

/// dst[col] += the sum over num of partials[num, cols], in a fixed order; the same for
/// other_partials where other_dst is not nullptr.
struct PartialSums {
  const float* partials = nullptr;
  float* dst = nullptr;
  const float* other_partials = nullptr;
  float* other_dst = nullptr;
  std::int64_t num = 0;
  std::int64_t cols = 0;
};

void add_partial_sums(const PartialSums& sums, Stream stream);

}  // namespace runflat::kernels
