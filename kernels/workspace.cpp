// Sizes of workspaces, which memory planning asks for with or without a GPU.

#include "kernels/elementwise.hpp"
#include "kernels/embedding.hpp"
#include "kernels/norm.hpp"
#include "kernels/optimizer.hpp"
#include "kernels/partials.hpp"

#include <algorithm>

namespace runflat::kernels {

std::int64_t norm_backward_workspace(std::int64_t rows, std::int64_t cols, DataType type) {
  const std::int64_t sums = 2;  // of gain and of bias
  return sums * std::min(rows, kMaxPartials) * cols * size_of(accumulate_type(type));
}

std::int64_t bias_grad_workspace(std::int64_t rows, std::int64_t cols, DataType type) {
  return std::min(rows, kMaxPartials) * cols * size_of(accumulate_type(type));
}

std::int64_t embedding_backward_workspace(std::int64_t tokens, std::int64_t /*local_rows*/) {
  const std::int64_t arrays = 4;  // rows and tokens, before and after the sort
  const std::int64_t array_bytes = (tokens * size_of(DataType::int32) + 255) / 256 * 256;
  return arrays * array_bytes + sort_bytes(tokens);
}

std::int64_t squared_sum_workspace() {
  return kSquaredSumPartials * size_of(DataType::fp64);
}

}  // namespace runflat::kernels
