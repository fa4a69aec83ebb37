// One launch shape for every operation without reductions: a thread loads a few packs, all before
// the first is used, so that enough bytes are in flight; blocks are as many as the data needs, as
// the hardware balances them.

#pragma once

#include "kernels/device.cuh"

namespace runflat::kernels {

constexpr int kElementwiseThreads = 256;

/// An Op<kNum> works on kNum consecutive elements: `Loaded load(first)`, then `store(first,
/// loaded)`. Elements past the last whole pack are done one by one.
template <typename Op, typename TailOp>
__global__ void __launch_bounds__(kElementwiseThreads)
    elementwise_kernel(const Op op, std::int64_t num_packs, const TailOp tail_op, int num_tail) {
  constexpr int kUnroll = Op::kUnroll;
  const std::int64_t first =
      std::int64_t{blockIdx.x} * (kElementwiseThreads * kUnroll) + threadIdx.x;
  typename Op::Loaded loaded[kUnroll];
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    const std::int64_t pack = first + i * kElementwiseThreads;
    if (pack < num_packs) {
      loaded[i] = op.load(pack * Op::kNum);
    }
  }
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    const std::int64_t pack = first + i * kElementwiseThreads;
    if (pack < num_packs) {
      op.store(pack * Op::kNum, loaded[i]);
    }
  }
  if (blockIdx.x == 0 && threadIdx.x < num_tail) {
    const std::int64_t element = num_packs * Op::kNum + threadIdx.x;
    tail_op.store(element, tail_op.load(element));
  }
}

template <typename Op, typename TailOp>
void launch_elementwise(
    const Op& op, const TailOp& tail_op, std::int64_t num, const char* name, Stream stream) {
  if (num == 0) {
    return;
  }
  const std::int64_t num_packs = num / Op::kNum;
  const std::int64_t num_blocks =
      ceil_div(num_packs, std::int64_t{kElementwiseThreads} * Op::kUnroll);
  elementwise_kernel<<<static_cast<unsigned>(num_blocks > 0 ? num_blocks : 1),
                       kElementwiseThreads,
                       0,
                       stream>>>(op, num_packs, tail_op, static_cast<int>(num % Op::kNum));
  check_launch(name);
}

/// Op<T, kNum> is made of `args`, with packs of kSize elements where `aligned`.
template <template <typename, int> class Op, typename T, int kSize, typename Args>
void run_elementwise(
    const Args& args, std::int64_t num, bool aligned, const char* name, Stream stream) {
  const Op<T, 1> scalar{args};
  if (aligned) {
    launch_elementwise(Op<T, kSize>{args}, scalar, num, name, stream);
  } else {
    launch_elementwise(scalar, scalar, num, name, stream);
  }
}

/// element % cols, by 32-bit arithmetic where that is enough: 64-bit divisions are slow.
__device__ __forceinline__ std::int64_t column_of(std::int64_t element, std::int64_t cols) {
  return (element | cols) >> 32 == 0
             ? static_cast<std::uint32_t>(element) % static_cast<std::uint32_t>(cols)
             : element % cols;
}

}  // namespace runflat::kernels
