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

std::int64_t embedding_backward_workspace(std::int64_t tokens, std::int64_t local_rows) {
  return (tokens + 2 * local_rows) * size_of(DataType::int32);  // every row's first and last token
}

std::int64_t squared_sum_workspace() {
  return kSquaredSumPartials * size_of(DataType::fp64);
}

}  // namespace runflat::kernels
