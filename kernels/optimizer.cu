// One launch updates many tensors: their table travels in the kernel's arguments, a block takes a
// tile of one tensor. Moments and masters are read and written once, gradients read once.

#include "kernels/device.cuh"
#include "kernels/optimizer.hpp"
#include "kernels/partials.hpp"

#include <algorithm>
#include <cmath>

namespace runflat::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kNum = 4;  // elements of a pack: 16 bytes of fp32
constexpr int kRunsPerLaunch = 40;

/// Runs of elements in tiles of kTile: run r has tiles first_tile[r] to first_tile[r + 1].
template <typename Run, std::int64_t kTile>
struct RunTable {
  static constexpr std::int64_t kTileSize = kTile;
  Run runs[kRunsPerLaunch];
  std::int64_t first_tile[kRunsPerLaunch + 1] = {};
  int num_runs = 0;

  /// The run of a tile: the last one that starts at or before it.
  [[nodiscard]] __device__ __forceinline__ int run_of(std::int64_t tile) const {
    int low = 0;
    int high = num_runs;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (first_tile[middle] <= tile ? low : high) = middle;
    }
    return low;
  }
  [[nodiscard]] __host__ __device__ std::int64_t num_tiles() const { return first_tile[num_runs]; }
  void add(const Run& run, std::int64_t num) {
    runs[num_runs] = run;
    first_tile[num_runs + 1] = first_tile[num_runs] + ceil_div(num, kTile);
    ++num_runs;
  }
};

/// Calls launch(table) with all runs that have elements, as many at a time as a table holds.
template <typename Table, typename Runs, typename F>
void for_each_table(const Runs& runs, F launch) {
  Table table;
  for (const auto& run : runs) {
    if (run.num > 0) {
      table.add({run}, run.num);
    }
    if (table.num_runs == kRunsPerLaunch) {
      launch(table);
      table.num_runs = 0;
    }
  }
  if (table.num_runs > 0) {
    launch(table);
  }
}

template <typename T>
struct AdamwRun {
  const float* grad = nullptr;
  float* master = nullptr;
  float* exp_avg = nullptr;
  float* exp_avg_sq = nullptr;
  T* weight = nullptr;
  std::int64_t num = 0;
  float weight_decay = 0.0F;
  bool aligned = false;

  AdamwRun() = default;
  AdamwRun(const AdamwTensor& tensor)
      : grad(static_cast<const float*>(tensor.grad)),
        master(static_cast<float*>(tensor.master)),
        exp_avg(static_cast<float*>(tensor.exp_avg)),
        exp_avg_sq(static_cast<float*>(tensor.exp_avg_sq)),
        weight(static_cast<T*>(tensor.weight)),
        num(tensor.num),
        weight_decay(static_cast<float>(tensor.weight_decay)),
        aligned(packs_fit<float>(kNum,
                                 {tensor.grad, tensor.master, tensor.exp_avg, tensor.exp_avg_sq}) &&
                reinterpret_cast<std::uintptr_t>(tensor.weight) % (kNum * sizeof(T)) == 0) {}
};

/// The numbers of AdamwArgs, in what the update computes with.
struct Coefficients {
  float lr;
  float beta1;
  float beta2;
  float rest1;  // 1 - beta1
  float rest2;
  float correction1;  // 1 / (1 - beta1^step)
  float correction2;
  float epsilon;
  const double* scale;
};

constexpr int kAdamwUnroll = 2;
template <typename T>
using AdamwTable = RunTable<AdamwRun<T>, kThreads * kNum * kAdamwUnroll>;

/// One pack of a run, moved and updated.
template <typename T, int kSize>
struct AdamwPack {
  Pack<float, kSize> grad;
  Pack<float, kSize> master;
  Pack<float, kSize> exp_avg;
  Pack<float, kSize> exp_avg_sq;

  __device__ __forceinline__ void load(const AdamwRun<T>& run, std::int64_t at) {
    grad = load_pack<kSize>(run.grad + at);
    master = load_pack<kSize>(run.master + at);
    exp_avg = load_pack<kSize>(run.exp_avg + at);
    exp_avg_sq = load_pack<kSize>(run.exp_avg_sq + at);
  }

  __device__ __forceinline__ void update(const AdamwRun<T>& run,
                                         std::int64_t at,
                                         const Coefficients& c,
                                         float scale) const {
    const Floats<float, kSize> g(grad);
    Floats<float, kSize> p(master);
    Floats<float, kSize> m(exp_avg);
    Floats<float, kSize> v(exp_avg_sq);
    Floats<T, kSize> w;
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      const float scaled = scale * g[i];
      m[i] = c.beta1 * m[i] + c.rest1 * scaled;
      v[i] = c.beta2 * v[i] + c.rest2 * scaled * scaled;
      const float direction = m[i] * c.correction1 / (sqrtf(v[i] * c.correction2) + c.epsilon);
      p[i] -= c.lr * (direction + run.weight_decay * p[i]);
      w[i] = p[i];
    }
    store_pack(run.master + at, p.pack());
    store_pack(run.exp_avg + at, m.pack());
    store_pack(run.exp_avg_sq + at, v.pack());
    if (run.weight != nullptr) {
      store_pack(run.weight + at, w.pack());
    }
  }
};

template <typename T>
__global__ void __launch_bounds__(kThreads)
    adamw_kernel(const __grid_constant__ AdamwTable<T> table, const Coefficients coefficients) {
  const std::int64_t tile = blockIdx.x;
  const int index = table.run_of(tile);
  const AdamwRun<T>& run = table.runs[index];
  const std::int64_t first = (tile - table.first_tile[index]) * AdamwTable<T>::kTileSize;
  const auto scale = static_cast<float>(*coefficients.scale);
  if (run.aligned && first + AdamwTable<T>::kTileSize <= run.num) {
    AdamwPack<T, kNum> packs[kAdamwUnroll];
#pragma unroll
    for (int i = 0; i < kAdamwUnroll; ++i) {
      packs[i].load(run, first + (i * kThreads + static_cast<int>(threadIdx.x)) * kNum);
    }
#pragma unroll
    for (int i = 0; i < kAdamwUnroll; ++i) {
      packs[i].update(
          run, first + (i * kThreads + static_cast<int>(threadIdx.x)) * kNum, coefficients, scale);
    }
    return;
  }
  const std::int64_t end = min(first + AdamwTable<T>::kTileSize, run.num);
  for (std::int64_t at = first + threadIdx.x; at < end; at += kThreads) {
    AdamwPack<T, 1> pack;
    pack.load(run, at);
    pack.update(run, at, coefficients, scale);
  }
}

struct SquaresRun {
  const float* grad = nullptr;
  std::int64_t num = 0;
  bool aligned = false;

  SquaresRun() = default;
  SquaresRun(const GradRun& run)
      : grad(static_cast<const float*>(run.grad)),
        num(run.num),
        aligned(packs_fit<float>(kNum, {run.grad})) {}
};

constexpr int kSquaresUnroll = 4;
using SquaresTable = RunTable<SquaresRun, kThreads * kNum * kSquaresUnroll>;

__device__ double tile_squares(const SquaresRun& run, std::int64_t first) {
  double sum = 0.0;
  if (run.aligned && first + SquaresTable::kTileSize <= run.num) {
    Pack<float, kNum> packs[kSquaresUnroll];
#pragma unroll
    for (int i = 0; i < kSquaresUnroll; ++i) {
      packs[i] =
          load_pack<kNum>(run.grad + first + (i * kThreads + static_cast<int>(threadIdx.x)) * kNum);
    }
#pragma unroll
    for (int i = 0; i < kSquaresUnroll; ++i) {
      const Floats<float, kNum> values(packs[i]);
#pragma unroll
      for (int j = 0; j < kNum; ++j) {
        sum += static_cast<double>(values[j]) * static_cast<double>(values[j]);
      }
    }
    return sum;
  }
  const std::int64_t end = min(first + SquaresTable::kTileSize, run.num);
  for (std::int64_t at = first + threadIdx.x; at < end; at += kThreads) {
    sum += static_cast<double>(run.grad[at]) * static_cast<double>(run.grad[at]);
  }
  return sum;
}

/// The block's sum, whole in thread 0, in a fixed order.
__device__ double block_sum_fp64(double value) {
  __shared__ double shared[kThreads / kWarp];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xffffffffU, value, distance);
  }
  if (threadIdx.x % kWarp == 0) {
    shared[threadIdx.x / kWarp] = value;
  }
  __syncthreads();
  double sum = 0.0;
  for (int warp = 0; threadIdx.x == 0 && warp < kThreads / kWarp; ++warp) {
    sum += shared[warp];
  }
  return sum;
}

__global__ void __launch_bounds__(kThreads)
    squares_kernel(const __grid_constant__ SquaresTable table, double* partials, bool first_table) {
  double sum = 0.0;
  for (std::int64_t tile = blockIdx.x; tile < table.num_tiles(); tile += gridDim.x) {
    const int index = table.run_of(tile);
    sum +=
        tile_squares(table.runs[index], (tile - table.first_tile[index]) * SquaresTable::kTileSize);
  }
  sum = block_sum_fp64(sum);
  if (threadIdx.x == 0) {
    partials[blockIdx.x] = first_table ? sum : partials[blockIdx.x] + sum;
  }
}

__global__ void __launch_bounds__(kThreads)
    sum_squares_kernel(const double* partials, double* out) {
  double sum = 0.0;
  for (int i = static_cast<int>(threadIdx.x); i < kSquaredSumPartials; i += kThreads) {
    sum += partials[i];
  }
  sum = block_sum_fp64(sum);
  if (threadIdx.x == 0) {
    *out += sum;
  }
}

__global__ void clip_scale_kernel(const ClipScaleArgs args) {
  const double tokens = fmax(*args.tokens, 1.0);
  const double norm = sqrt(*args.squared_sum) / tokens;
  const double clip = args.max_norm > 0.0 ? fmin(1.0, args.max_norm / (norm + 1e-6)) : 1.0;
  *args.norm = norm;
  *args.scale = isfinite(norm) ? clip / tokens : nan("");
}

}  // namespace

void adamw(const AdamwArgs& args, Stream stream) {
  const auto step = static_cast<double>(args.step);
  const Coefficients coefficients = {
      .lr = static_cast<float>(args.lr),
      .beta1 = static_cast<float>(args.beta1),
      .beta2 = static_cast<float>(args.beta2),
      .rest1 = static_cast<float>(1 - args.beta1),
      .rest2 = static_cast<float>(1 - args.beta2),
      .correction1 = static_cast<float>(1 / (1 - std::pow(args.beta1, step))),
      .correction2 = static_cast<float>(1 / (1 - std::pow(args.beta2, step))),
      .epsilon = static_cast<float>(args.epsilon),
      .scale = args.scale};
  with_device_type(args.weight_type, [&]<typename T>() {
    for_each_table<AdamwTable<T>>(args.tensors, [&](const AdamwTable<T>& table) {
      adamw_kernel<T>
          <<<static_cast<unsigned>(table.num_tiles()), kThreads, 0, stream>>>(table, coefficients);
      check_launch("adamw_kernel");
    });
  });
}

void squared_sum(const SquaredSumArgs& args, Stream stream) {
  if (accumulate_type(args.type) != DataType::fp32) {
    throw std::invalid_argument("squared_sum: gradients on the device must be fp32");
  }
  auto* partials = static_cast<double*>(args.workspace);
  bool first_table = true;
  for_each_table<SquaresTable>(args.runs, [&](const SquaresTable& table) {
    squares_kernel<<<kSquaredSumPartials, kThreads, 0, stream>>>(table, partials, first_table);
    check_launch("squares_kernel");
    first_table = false;
  });
  if (!first_table) {
    sum_squares_kernel<<<1, kThreads, 0, stream>>>(partials, args.sum);
    check_launch("sum_squares_kernel");
  }
}

void clip_scale(const ClipScaleArgs& args, Stream stream) {
  clip_scale_kernel<<<1, 1, 0, stream>>>(args);
  check_launch("clip_scale_kernel");
}

}  // namespace runflat::kernels
