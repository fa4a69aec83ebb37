// A block takes a row at a time and keeps it in registers between the sums and what is made of
// them, so that every element is read once. Backward sums gain and bias gradients over the rows of
// a block in registers too; every block leaves one row of partial sums, which a second launch adds
// up in order. While a row is summed, the next one is on its way.

#include "kernels/device.cuh"
#include "kernels/norm.hpp"
#include "kernels/partial_sums.cuh"
#include "kernels/partials.hpp"

#include <algorithm>

namespace runflat::kernels {
namespace {

constexpr int kCached = 4;  // packs of a row that a thread keeps; longer rows are read again
constexpr int kMaxForwardThreads = 512;

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
__global__ void __launch_bounds__(kMaxForwardThreads)
    norm_forward_kernel(const NormForwardArgs args) {
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

/// What a thread has of one row in backward.
template <typename T, int kNum, int kPer>
struct GradRow {
  Pack<T, kNum> dy[kPer];
  Pack<T, kNum> z[kPer];
  Pack<T, kNum> dresidual[kPer];
  float mean = 0.0F;
  float rstd = 0.0F;

  __device__ __forceinline__ void load(const NormBackwardArgs& args, std::int64_t row) {
    const std::int64_t first = row * args.cols;
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const std::int64_t at = (std::int64_t{threadIdx.x} + i * static_cast<int>(blockDim.x)) * kNum;
      if (at < args.cols) {
        dy[i] = load_pack<kNum>(static_cast<const T*>(args.dy) + first + at);
        z[i] = load_pack<kNum>(static_cast<const T*>(args.z) + first + at);
        if (args.dresidual != nullptr) {
          dresidual[i] = load_pack<kNum>(static_cast<const T*>(args.dresidual) + first + at);
        }
      }
    }
    mean = args.mean == nullptr ? 0.0F : static_cast<const float*>(args.mean)[row];
    rstd = static_cast<const float*>(args.rstd)[row];
  }
};

constexpr int kPer = 2;  // packs of a row that a thread has in backward
constexpr int kMaxBackwardThreads = 512;

// Half of an SM's threads: the other half's registers hold the rows on their way.
template <typename T, int kNum, bool kCentred>
__global__ void __launch_bounds__(kMaxBackwardThreads, 1)
    norm_backward_kernel(const NormBackwardArgs args) {
  __shared__ float shared[2][2][kMaxWarps];
  Pack<T, kNum> gain[kPer];
  float dgain[kPer][kNum] = {};
  float dbias[kCentred ? kPer : 1][kNum] = {};
  const auto column = [&](int i) {
    return (std::int64_t{threadIdx.x} + i * static_cast<int>(blockDim.x)) * kNum;
  };
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    if (column(i) < args.cols) {
      gain[i] = load_pack<kNum>(static_cast<const T*>(args.gain) + column(i));
    }
  }
  const auto cols = static_cast<float>(args.cols);
  GradRow<T, kNum, kPer> current;
  current.load(args, blockIdx.x);
  int turn = 0;
  for (std::int64_t row = blockIdx.x; row < args.rows; row += gridDim.x, turn ^= 1) {
    GradRow<T, kNum, kPer> next;
    if (row + gridDim.x < args.rows) {
      next.load(args, row + gridDim.x);
    }
    float sums[2] = {};  // of g = gain dy, and of g times the normalised z
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      if (column(i) < args.cols) {
        const Floats<T, kNum> dy(current.dy[i]);
        const Floats<T, kNum> z(current.z[i]);
        const Floats<T, kNum> factor(gain[i]);
#pragma unroll
        for (int j = 0; j < kNum; ++j) {
          const float normalised = (z[j] - current.mean) * current.rstd;
          const float g = factor[j] * dy[j];
          sums[1] += g * normalised;
          dgain[i][j] += dy[j] * normalised;
          if constexpr (kCentred) {
            sums[0] += g;
            dbias[i][j] += dy[j];
          }
        }
      }
    }
    block_sum(sums, shared[turn]);
    const float mean_g = kCentred ? sums[0] / cols : 0.0F;
    const float mean_gn = sums[1] / cols;
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      if (column(i) < args.cols) {
        const Floats<T, kNum> dy(current.dy[i]);
        const Floats<T, kNum> z(current.z[i]);
        const Floats<T, kNum> factor(gain[i]);
        Floats<T, kNum> dx;
#pragma unroll
        for (int j = 0; j < kNum; ++j) {
          const float normalised = (z[j] - current.mean) * current.rstd;
          dx[j] = current.rstd * (factor[j] * dy[j] - mean_g - normalised * mean_gn);
        }
        if (args.dresidual != nullptr) {
          const Floats<T, kNum> dresidual(current.dresidual[i]);
#pragma unroll
          for (int j = 0; j < kNum; ++j) {
            dx[j] += dresidual[j];
          }
        }
        store_pack(static_cast<T*>(args.dx) + row * args.cols + column(i), dx.pack());
      }
    }
    current = next;
  }
  float* partials = static_cast<float*>(args.workspace) + std::int64_t{blockIdx.x} * args.cols;
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    if (column(i) < args.cols) {
#pragma unroll
      for (int j = 0; j < kNum; ++j) {
        partials[column(i) + j] = dgain[i][j];
        if constexpr (kCentred) {
          partials[std::int64_t{gridDim.x} * args.cols + column(i) + j] = dbias[i][j];
        }
      }
    }
  }
}

/// Any number of columns at any alignment: partial sums are kept in memory, rows are read twice.
template <typename T>
__global__ void __launch_bounds__(kMaxBackwardThreads)
    norm_backward_any_kernel(const NormBackwardArgs args) {
  __shared__ float shared[2][2][kMaxWarps];
  const bool centred = args.mean != nullptr;
  const auto cols = static_cast<float>(args.cols);
  const T* gain = static_cast<const T*>(args.gain);
  float* dgain = static_cast<float*>(args.workspace) + std::int64_t{blockIdx.x} * args.cols;
  float* dbias = dgain + std::int64_t{gridDim.x} * args.cols;
  for (std::int64_t col = threadIdx.x; col < args.cols; col += blockDim.x) {
    dgain[col] = 0.0F;
    if (centred) {
      dbias[col] = 0.0F;
    }
  }
  int turn = 0;
  for (std::int64_t row = blockIdx.x; row < args.rows; row += gridDim.x, turn ^= 1) {
    const std::int64_t first = row * args.cols;
    const T* dy = static_cast<const T*>(args.dy) + first;
    const T* z = static_cast<const T*>(args.z) + first;
    const float mean = centred ? static_cast<const float*>(args.mean)[row] : 0.0F;
    const float rstd = static_cast<const float*>(args.rstd)[row];
    float sums[2] = {};
    for (std::int64_t col = threadIdx.x; col < args.cols; col += blockDim.x) {
      const float normalised = (static_cast<float>(z[col]) - mean) * rstd;
      const float grad = static_cast<float>(dy[col]);
      sums[0] += centred ? static_cast<float>(gain[col]) * grad : 0.0F;
      sums[1] += static_cast<float>(gain[col]) * grad * normalised;
      dgain[col] += grad * normalised;
      if (centred) {
        dbias[col] += grad;
      }
    }
    block_sum(sums, shared[turn]);
    for (std::int64_t col = threadIdx.x; col < args.cols; col += blockDim.x) {
      const float normalised = (static_cast<float>(z[col]) - mean) * rstd;
      const float g = static_cast<float>(gain[col]) * static_cast<float>(dy[col]);
      float dx = rstd * (g - sums[0] / cols - normalised * (sums[1] / cols));
      if (args.dresidual != nullptr) {
        dx += static_cast<float>(static_cast<const T*>(args.dresidual)[first + col]);
      }
      static_cast<T*>(args.dx)[first + col] = static_cast<T>(dx);
    }
  }
}

/// Threads for num_packs packs at so many a thread: whole warps, four at least.
unsigned threads_for(std::int64_t num_packs, int packs_per_thread, int max_threads) {
  const std::int64_t warps = ceil_div(num_packs, std::int64_t{packs_per_thread} * kWarp);
  return static_cast<unsigned>(std::clamp<std::int64_t>(warps * kWarp, 128, max_threads));
}

template <typename T, int kNum>
void launch_forward(const NormForwardArgs& args, Stream stream) {
  const unsigned threads = threads_for(args.cols / kNum, kCached, kMaxForwardThreads);
  norm_forward_kernel<T, kNum><<<static_cast<unsigned>(args.rows), threads, 0, stream>>>(args);
  check_launch("norm_forward_kernel");
}

/// Launches the stage that leaves partial sums, and says how many rows of them.
template <typename T>
std::int64_t launch_backward(const NormBackwardArgs& args, Stream stream) {
  const bool aligned = packs_fit<T>(
      args.cols, {args.dy, args.z, args.gain, args.dresidual, args.dx, args.workspace});
  const std::int64_t num_packs = args.cols / kPackSize<T>;
  if (sizeof(T) == 2 && aligned && num_packs <= std::int64_t{kPer} * kMaxBackwardThreads) {
    const unsigned threads = threads_for(num_packs, kPer, kMaxBackwardThreads);
    const std::int64_t blocks =
        std::min<std::int64_t>(args.rows, kMaxPartials * 128 / std::int64_t{threads});
    if (args.mean != nullptr) {
      norm_backward_kernel<__nv_bfloat16, 8, true>
          <<<static_cast<unsigned>(blocks), threads, 0, stream>>>(args);
    } else {
      norm_backward_kernel<__nv_bfloat16, 8, false>
          <<<static_cast<unsigned>(blocks), threads, 0, stream>>>(args);
    }
    return blocks;
  }
  const std::int64_t blocks = std::min(args.rows, kMaxPartials);
  norm_backward_any_kernel<T><<<static_cast<unsigned>(blocks), 256, 0, stream>>>(args);
  return blocks;
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

void norm_backward(const NormBackwardArgs& args, Stream stream) {
  if (args.rows == 0 || args.cols == 0) {
    return;
  }
  with_device_type(args.type, [&]<typename T>() {
    const std::int64_t num_partials = launch_backward<T>(args, stream);
    check_launch("norm_backward_kernel");
    const auto* partials = static_cast<const float*>(args.workspace);
    const bool centred = args.mean != nullptr;
    add_partial_sums({.partials = partials,
                      .dst = static_cast<float*>(args.dgain),
                      .other_partials = partials + num_partials * args.cols,
                      .other_dst = centred ? static_cast<float*>(args.dbias) : nullptr,
                      .num = num_partials,
                      .cols = args.cols},
                     stream);
  });
}

}  // namespace runflat::kernels
