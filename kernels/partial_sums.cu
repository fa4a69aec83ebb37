// The second stage of reductions over rows. A block takes 32 columns; each of its warps adds every
// 32nd row, and the first warp adds what the warps found, in order. It is launched while the first
// stage runs, and waits for its end, so that no time passes between the two.

#include "kernels/device.cuh"
#include "kernels/partial_sums.hpp"

namespace runflat::kernels {
namespace {

constexpr int kLanes = 32;

__global__ void __launch_bounds__(kLanes* kWarp) partial_sums_kernel(const PartialSums sums) {
  __shared__ float shared[kLanes][kWarp];
  const float* partials = blockIdx.y == 0 ? sums.partials : sums.other_partials;
  float* dst = blockIdx.y == 0 ? sums.dst : sums.other_dst;
  const std::int64_t col = std::int64_t{blockIdx.x} * kWarp + threadIdx.x;
  const bool is_last = threadIdx.y == 0 && col < sums.cols;
  const float before = is_last ? dst[col] : 0.0F;  // the first stage does not change it
  cudaGridDependencySynchronize();
  float sum = 0.0F;
  if (col < sums.cols) {
#pragma unroll 4
    for (std::int64_t row = threadIdx.y; row < sums.num; row += kLanes) {
      sum += partials[row * sums.cols + col];
    }
  }
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (is_last) {
    float total = 0.0F;
    for (int lane = 0; lane < kLanes; ++lane) {
      total += shared[lane][threadIdx.x];
    }
    dst[col] = before + total;
  }
}

}  // namespace

void add_partial_sums(const PartialSums& sums, Stream stream) {
  const dim3 grid(static_cast<unsigned>(ceil_div(sums.cols, kWarp)),
                  sums.other_dst == nullptr ? 1 : 2);
  launch_early(partial_sums_kernel, grid, dim3(kWarp, kLanes), stream, sums);
}

}  // namespace runflat::kernels
