// The second stage of reductions over rows. A block takes 64 columns, two for each lane; each of
// its warps adds every 32nd row, and the first warps add what all found, in order. It is launched
// while the first stage runs, and waits for its end, so that no time passes between the two.

#include "kernels/device.cuh"
#include "kernels/partial_sums.hpp"

namespace runflat::kernels {
namespace {

constexpr int kLanes = 32;
constexpr int kPer = 2;  // columns of a thread, a warp's width apart

__global__ void __launch_bounds__(kLanes* kWarp) partial_sums_kernel(const PartialSums sums) {
  __shared__ float shared[kLanes][kPer * kWarp];
  const float* partials = blockIdx.y == 0 ? sums.partials : sums.other_partials;
  float* dst = blockIdx.y == 0 ? sums.dst : sums.other_dst;
  const std::int64_t first = std::int64_t{blockIdx.x} * kPer * kWarp;
  // The first warps end with a column for each thread.
  const std::int64_t own = first + threadIdx.y * kWarp + threadIdx.x;
  const bool has_own = threadIdx.y < kPer && own < sums.cols;
  const float before = has_own ? dst[own] : 0.0F;  // the first stage does not change it
  cudaGridDependencySynchronize();
  float found[kPer] = {};
#pragma unroll 4
  for (std::int64_t row = threadIdx.y; row < sums.num; row += kLanes) {
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const std::int64_t col = first + i * kWarp + threadIdx.x;
      found[i] += col < sums.cols ? partials[row * sums.cols + col] : 0.0F;
    }
  }
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    shared[threadIdx.y][i * kWarp + threadIdx.x] = found[i];
  }
  __syncthreads();
  if (has_own) {
    float total = 0.0F;
    for (int lane = 0; lane < kLanes; ++lane) {
      total += shared[lane][threadIdx.y * kWarp + threadIdx.x];
    }
    dst[own] = before + total;
  }
}

}  // namespace

void add_partial_sums(const PartialSums& sums, Stream stream) {
  const dim3 grid(static_cast<unsigned>(ceil_div(sums.cols, kPer * kWarp)),
                  sums.other_dst == nullptr ? 1 : 2);
  launch_early(partial_sums_kernel, grid, dim3(kWarp, kLanes), stream, sums);
}

}  // namespace runflat::kernels
