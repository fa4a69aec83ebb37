// A block takes a row and keeps it in registers between the sums and what is made of them, so that
// every element is read once.

#include "kernels/device.cuh"
#include "kernels/norm.hpp"

#include <algorithm>

namespace runflat::kernels {
namespace {

constexpr int kCached = 4;  // packs of a row that a thread keeps; longer rows are read again
constexpr int kMaxThreads = 512;

/// A row of which every thread sees the packs threadIdx.x, threadIdx.x + blockDim.x, ...
template <typename T, int kNum>
struct Row {
  const T* memory;
  int num_packs;
  Pack<T, kNum> cached[kCached];

  template <typename F>
  __device__ __forceinline__ void for_each(F f) const {
#pragma unroll
    for (int i = 0; i < kCached; ++i) {
      const int pack = static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
      if (pack < num_packs) {
        f(pack, Floats<T, kNum>(cached[i]));
      }
    }
    for (int pack = static_cast<int>(threadIdx.x) + kCached * static_cast<int>(blockDim.x);
         pack < num_packs;
         pack += static_cast<int>(blockDim.x)) {
      f(pack, Floats<T, kNum>(load_pack<kNum>(memory + std::int64_t{pack} * kNum)));
    }
  }
};

template <typename T, int kNum>
__device__ __forceinline__ Pack<T, kNum> sum_of(const Pack<T, kNum>& a, const Pack<T, kNum>& b) {
  Floats<T, kNum> sum(a);
  const Floats<T, kNum> other(b);
#pragma unroll
  for (int i = 0; i < kNum; ++i) {
    sum[i] += other[i];
  }
  return sum.pack();
}

/// The row of z = x, or x + residual, which is stored and seen rounded, as backward will see it.
template <typename T, int kNum>
__device__ __forceinline__ Row<T, kNum> load_row(const NormForwardArgs& args, std::int64_t first) {
  Row<T, kNum> row;
  row.num_packs = static_cast<int>(args.cols / kNum);
  const T* x = static_cast<const T*>(args.x) + first;
  row.memory = x;
#pragma unroll
  for (int i = 0; i < kCached; ++i) {
    const int pack = static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
    if (pack < row.num_packs) {
      row.cached[i] = load_pack<kNum>(x + std::int64_t{pack} * kNum);
    }
  }
  if (args.residual == nullptr) {
    return row;
  }
  const T* residual = static_cast<const T*>(args.residual) + first;
  T* sum = static_cast<T*>(args.sum) + first;
  row.memory = sum;
  Pack<T, kNum> added[kCached];
#pragma unroll
  for (int i = 0; i < kCached; ++i) {
    const int pack = static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
    if (pack < row.num_packs) {
      added[i] = load_pack<kNum>(residual + std::int64_t{pack} * kNum);
    }
  }
#pragma unroll
  for (int i = 0; i < kCached; ++i) {
    const int pack = static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
    if (pack < row.num_packs) {
      row.cached[i] = sum_of(row.cached[i], added[i]);
      store_pack(sum + std::int64_t{pack} * kNum, row.cached[i]);
    }
  }
  for (int pack = static_cast<int>(threadIdx.x) + kCached * static_cast<int>(blockDim.x);
       pack < row.num_packs;
       pack += static_cast<int>(blockDim.x)) {
    const std::int64_t at = std::int64_t{pack} * kNum;
    store_pack(sum + at, sum_of(load_pack<kNum>(x + at), load_pack<kNum>(residual + at)));
  }
  return row;
}

template <typename T, int kNum>
__global__ void __launch_bounds__(kMaxThreads) norm_forward_kernel(const NormForwardArgs args) {
  __shared__ float shared[2][1][kMaxWarps];
  const std::int64_t row_index = blockIdx.x;
  const std::int64_t first = row_index * args.cols;
  const Row<T, kNum> row = load_row<T, kNum>(args, first);
  const bool centred = args.bias != nullptr;
  const auto cols = static_cast<float>(args.cols);
  float mean = 0.0F;
  if (centred) {
    float sum[1] = {};
    row.for_each([&](int, const Floats<T, kNum>& z) {
#pragma unroll
      for (int i = 0; i < kNum; ++i) {
        sum[0] += z[i];
      }
    });
    block_sum(sum, shared[0]);
    mean = sum[0] / cols;
  }
  float squares[1] = {};
  row.for_each([&](int, const Floats<T, kNum>& z) {
#pragma unroll
    for (int i = 0; i < kNum; ++i) {
      squares[0] += (z[i] - mean) * (z[i] - mean);
    }
  });
  block_sum(squares, shared[1]);
  const float rstd = 1.0F / sqrtf(squares[0] / cols + static_cast<float>(args.epsilon));
  const T* gain = static_cast<const T*>(args.gain);
  const T* bias = static_cast<const T*>(args.bias);
  T* y = static_cast<T*>(args.y) + first;
  row.for_each([&](int pack, Floats<T, kNum> z) {
    const std::int64_t at = std::int64_t{pack} * kNum;
    const Floats<T, kNum> factor(load_pack<kNum>(gain + at));
#pragma unroll
    for (int i = 0; i < kNum; ++i) {
      z[i] = (z[i] - mean) * rstd * factor[i];
    }
    if (centred) {
      const Floats<T, kNum> added(load_pack<kNum>(bias + at));
#pragma unroll
      for (int i = 0; i < kNum; ++i) {
        z[i] += added[i];
      }
    }
    store_pack(y + at, z.pack());
  });
  if (threadIdx.x == 0) {
    static_cast<float*>(args.rstd)[row_index] = rstd;
    if (centred) {
      static_cast<float*>(args.mean)[row_index] = mean;
    }
  }
}

template <typename T, int kNum>
void launch_forward(const NormForwardArgs& args, Stream stream) {
  const std::int64_t warps = ceil_div(args.cols / kNum, std::int64_t{kCached} * kWarp);
  const auto threads =
      static_cast<unsigned>(std::clamp<std::int64_t>(warps * kWarp, 128, kMaxThreads));
  norm_forward_kernel<T, kNum><<<static_cast<unsigned>(args.rows), threads, 0, stream>>>(args);
  check_launch("norm_forward_kernel");
}

}  // namespace

void norm_forward(const NormForwardArgs& args, Stream stream) {
  if (args.rows == 0 || args.cols == 0) {
    return;
  }
  with_device_type(args.type, [&]<typename T>() {
    if (packs_fit<T>(args.cols, {args.x, args.residual, args.sum, args.gain, args.bias, args.y})) {
      launch_forward<T, kPackSize<T>>(args, stream);
    } else {
      launch_forward<T, 1>(args, stream);
    }
  });
}

}  // namespace runflat::kernels
