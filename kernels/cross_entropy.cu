// One block a row, in one pass: a running maximum and the sum of exponentials under it, which the
// block's threads and then the ranks merge. Rows start anywhere, as a rank may have any number of
// columns: elements before the first 16-byte boundary and after the last are done one by one.

#include "kernels/cross_entropy.hpp"
#include "kernels/device.cuh"

namespace runflat::kernels {
namespace {

constexpr int kStatsThreads = 256;  // of more, most have nothing to do at the end of a short row
constexpr int kBackwardThreads = 512;
constexpr int kUnroll = 4;

/// A maximum and the sum of exp(x - max); starts as of no element.
struct SoftmaxSum {
  float max = -INFINITY;
  float sum = 0.0F;
};

/// The factor that brings a sum under `max` to one under `new_max` >= max.
template <typename T>
__device__ __forceinline__ float rescale(float max, float new_max) {
  return max == new_max ? 1.0F : exp_for<T>(max - new_max);
}

template <typename T>
__device__ __forceinline__ SoftmaxSum merge(const SoftmaxSum& a, const SoftmaxSum& b) {
  const float max = fmaxf(a.max, b.max);
  return {max, a.sum * rescale<T>(a.max, max) + b.sum * rescale<T>(b.max, max)};
}

template <typename T, int kNum>
__device__ __forceinline__ void include(SoftmaxSum& total, const Floats<T, kNum>& x) {
  float max = total.max;
#pragma unroll
  for (int i = 0; i < kNum; ++i) {
    max = fmaxf(max, x[i]);
  }
  const float under = max == -INFINITY ? 0.0F : max;  // of nothing but -inf the sum is 0
  float sum = total.sum * rescale<T>(total.max, max);
#pragma unroll
  for (int i = 0; i < kNum; ++i) {
    sum += exp_for<T>(x[i] - under);
  }
  total = {max, sum};
}

/// A row as elements up to a boundary, packs, and elements after them.
template <typename T>
struct AlignedRow {
  T* first;
  std::int64_t cols;
  std::int64_t head;
  std::int64_t num_packs;

  __device__ __forceinline__ AlignedRow(T* row, std::int64_t num_cols)
      : first(row), cols(num_cols) {
    const auto past = static_cast<int>(reinterpret_cast<std::uintptr_t>(row) % 16 / sizeof(T));
    head = min(static_cast<std::int64_t>(past == 0 ? 0 : kPackSize<T> - past), cols);
    num_packs = (cols - head) / kPackSize<T>;
  }
  [[nodiscard]] __device__ __forceinline__ std::int64_t pack_start(std::int64_t pack) const {
    return head + pack * kPackSize<T>;
  }
  /// f(column) of this thread's elements that are in no pack.
  template <typename F>
  __device__ __forceinline__ void for_each_single(F f) const {
    const std::int64_t tail = pack_start(num_packs);
    const std::int64_t num = head + cols - tail;
    if (threadIdx.x < num) {
      f(threadIdx.x < head ? std::int64_t{threadIdx.x} : tail + threadIdx.x - head);
    }
  }
};

template <typename T>
__device__ SoftmaxSum block_merge(SoftmaxSum value) {
  __shared__ SoftmaxSum shared[kMaxWarps];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    value = merge<T>(value,
                     {__shfl_xor_sync(0xffffffffU, value.max, distance),
                      __shfl_xor_sync(0xffffffffU, value.sum, distance)});
  }
  if (threadIdx.x % kWarp == 0) {
    shared[threadIdx.x / kWarp] = value;
  }
  __syncthreads();
  for (int warp = 0; threadIdx.x == 0 && warp < kStatsThreads / kWarp; ++warp) {
    value = warp == 0 ? shared[0] : merge<T>(value, shared[warp]);
  }
  return value;  // whole in thread 0
}

template <typename T>
__global__ void __launch_bounds__(kStatsThreads) stats_kernel(const CrossEntropyStatsArgs args) {
  constexpr int kNum = kPackSize<T>;
  const std::int64_t row = blockIdx.x;
  const T* logits = static_cast<const T*>(args.logits) + row * args.cols;
  const AlignedRow<const T> parts(logits, args.cols);
  SoftmaxSum total;
  std::int64_t pack = threadIdx.x;
  for (; pack + (kUnroll - 1) * kStatsThreads < parts.num_packs; pack += kUnroll * kStatsThreads) {
    Pack<T, kNum> loaded[kUnroll];
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      loaded[i] = load_pack<kNum>(logits + parts.pack_start(pack + i * kStatsThreads));
    }
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      include(total, Floats<T, kNum>(loaded[i]));
    }
  }
  for (; pack < parts.num_packs; pack += kStatsThreads) {
    include(total, Floats<T, kNum>(load_pack<kNum>(logits + parts.pack_start(pack))));
  }
  parts.for_each_single(
      [&](std::int64_t col) { include(total, Floats<T, 1>(load_pack<1>(logits + col))); });
  total = block_merge<T>(total);
  if (threadIdx.x == 0) {
    const std::int64_t target = args.local_row[args.targets[row]];
    float* stats = static_cast<float*>(args.stats) + row * kCrossEntropyStats;
    stats[0] = total.max;
    stats[1] = total.sum;
    stats[2] = target < 0 ? 0.0F : static_cast<float>(logits[target]);
  }
}

/// A row's statistics over all ranks, merged in rank order as on the host.
struct RowStats {
  float max = -INFINITY;
  float sum = 0.0F;
  float target = 0.0F;

  __device__ RowStats(const CrossEntropyBackwardArgs& args, std::int64_t row) {
    const float* stats = static_cast<const float*>(args.stats) + row * kCrossEntropyStats;
    const std::int64_t apart = args.rows * kCrossEntropyStats;
    for (std::int64_t rank = 0; rank < args.num_ranks; ++rank) {
      max = fmaxf(max, stats[rank * apart]);
    }
    for (std::int64_t rank = 0; rank < args.num_ranks; ++rank) {
      const float* part = stats + rank * apart;
      sum += part[1] == 0.0F ? 0.0F : part[1] * expf(part[0] - max);
      target += part[2];
    }
  }
};

/// logits <- mask (softmax - [column is the target]).
template <typename T>
struct Gradient {
  float max;
  float factor;  // mask / sum
  float mask;

  __device__ __forceinline__ float operator()(float logit) const {
    return factor * exp_for<T>(logit - max);
  }
};

template <typename T>
__global__ void __launch_bounds__(kBackwardThreads)
    backward_kernel(const CrossEntropyBackwardArgs args) {
  constexpr int kNum = kPackSize<T>;
  const std::int64_t row = blockIdx.x;
  T* logits = static_cast<T*>(args.logits) + row * args.cols;
  const AlignedRow<T> parts(logits, args.cols);
  const RowStats stats(args, row);
  const float mask = args.loss_mask[row];
  const Gradient<T> gradient = {stats.max, mask / stats.sum, mask};
  const std::int64_t target = args.local_row[args.targets[row]];
  if (threadIdx.x == 0) {
    static_cast<float*>(args.losses)[row] = mask * (stats.max - stats.target + logf(stats.sum));
  }
  const auto finish = [&](std::int64_t first, const Pack<T, kNum>& loaded) {
    Floats<T, kNum> x(loaded);
    const std::int64_t at = target - first;
#pragma unroll
    for (int i = 0; i < kNum; ++i) {
      x[i] = gradient(x[i]);
    }
    if (at >= 0 && at < kNum) {
#pragma unroll
      for (int i = 0; i < kNum; ++i) {
        x[i] -= i == at ? mask : 0.0F;
      }
    }
    store_pack(logits + first, x.pack());
  };
  std::int64_t pack = threadIdx.x;
  for (; pack + (kUnroll - 1) * kBackwardThreads < parts.num_packs;
       pack += kUnroll * kBackwardThreads) {
    Pack<T, kNum> loaded[kUnroll];
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      loaded[i] = load_pack<kNum>(logits + parts.pack_start(pack + i * kBackwardThreads));
    }
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      finish(parts.pack_start(pack + i * kBackwardThreads), loaded[i]);
    }
  }
  for (; pack < parts.num_packs; pack += kBackwardThreads) {
    finish(parts.pack_start(pack), load_pack<kNum>(logits + parts.pack_start(pack)));
  }
  parts.for_each_single([&](std::int64_t col) {
    const float softmax = gradient(static_cast<float>(logits[col]));
    logits[col] = static_cast<T>(softmax - (col == target ? mask : 0.0F));
  });
}

}  // namespace

void cross_entropy_stats(const CrossEntropyStatsArgs& args, Stream stream) {
  if (args.rows == 0) {
    return;
  }
  with_device_type(args.type, [&]<typename T>() {
    stats_kernel<T><<<static_cast<unsigned>(args.rows), kStatsThreads, 0, stream>>>(args);
  });
  check_launch("cross_entropy_stats");
}

void cross_entropy_backward(const CrossEntropyBackwardArgs& args, Stream stream) {
  if (args.rows == 0) {
    return;
  }
  with_device_type(args.type, [&]<typename T>() {
    backward_kernel<T><<<static_cast<unsigned>(args.rows), kBackwardThreads, 0, stream>>>(args);
  });
  check_launch("cross_entropy_backward");
}

}  // namespace runflat::kernels
