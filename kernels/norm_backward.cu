// Backward of norms. Rows of bf16 wait in shared memory, three ahead of the one that is worked on,
// so that every element is read once and loads cost no registers. Gain and bias gradients are
// summed over a block's rows in registers; every block leaves one row of partial sums, which a
// second launch adds up in order.

#include "kernels/bulk_copy.cuh"
#include "kernels/device.cuh"
#include "kernels/norm.hpp"
#include "kernels/partial_sums.hpp"
#include "kernels/partials.hpp"

#include <algorithm>

namespace runflat::kernels {
namespace {

// One block for each SM, of several teams of threads that take rows by themselves.
constexpr int kPer = 2;  // packs of a row that a thread has
constexpr int kBackwardBlocks = 132;
constexpr int kTeamThreads = 512;  // of all teams: leaves 128 registers to a thread
constexpr int kMaxTeamSize = 512;
constexpr int kMaxTeams = 4;
constexpr int kStages = 4;
constexpr int kStageTensors = 3;  // dy, z, dresidual
using Bf16 = __nv_bfloat16;
constexpr int kBf16Pack = kPackSize<Bf16>;

/// The team of a thread, and its memory.
struct Team {
  int size;
  int index;
  int thread;
  Bf16* stages;
  CopyBarrier* barriers;

  __device__ __forceinline__
  Team(int team_size, Bf16* all_stages, std::int64_t cols, CopyBarrier (*all_barriers)[kStages])
      : size(team_size),
        index(static_cast<int>(threadIdx.x) / team_size),
        thread(static_cast<int>(threadIdx.x) % team_size),
        stages(all_stages + index * kStages * kStageTensors * cols),
        barriers(all_barriers[index]) {}

  /// Of all teams of the block at once.
  __device__ __forceinline__ void init_barriers() const {
    if (thread == 0) {
      for (int stage = 0; stage < kStages; ++stage) {
        barriers[stage].init();
      }
      CopyBarrier::fence_init();
    }
    __syncthreads();
  }
  [[nodiscard]] __device__ __forceinline__ Bf16* tensor(int stage, int which, int cols) const {
    return stages + (stage * kStageTensors + which) * cols;
  }
  /// Starts the copies of a row's tensors to a stage.
  __device__ __forceinline__ void fetch(const NormBackwardArgs& args,
                                        std::int64_t row,
                                        int stage) const {
    if (thread != 0 || row >= args.rows) {
      return;
    }
    const int cols = static_cast<int>(args.cols);
    const auto bytes = static_cast<std::uint32_t>(cols * 2);
    const bool residual = args.dresidual != nullptr;
    barriers[stage].expect(bytes * (residual ? 3 : 2));
    const void* sources[kStageTensors] = {args.dy, args.z, args.dresidual};
    for (int i = 0; i < (residual ? 3 : 2); ++i) {
      barriers[stage].copy(
          tensor(stage, i, cols), static_cast<const Bf16*>(sources[i]) + row * args.cols, bytes);
    }
  }
  /// The team's sums of two values, in every thread, in a fixed order. All teams call it together.
  __device__ __forceinline__ void sum(float (&values)[2], float (*shared)[2]) const {
    values[0] = warp_sum(values[0]);
    values[1] = warp_sum(values[1]);
    if (thread % kWarp == 0) {
      shared[thread / kWarp][0] = values[0];
      shared[thread / kWarp][1] = values[1];
    }
    __syncthreads();
    values[0] = values[1] = 0.0F;
    for (int warp = 0; warp < size / kWarp; ++warp) {
      values[0] += shared[warp][0];
      values[1] += shared[warp][1];
    }
  }
};

using Numbers = Floats<Bf16, kBf16Pack>;

/// mean (0 for RMSNorm) and rstd of a row; of none past the last.
template <bool kCentred>
struct Statistics {
  float mean = 0.0F;
  float rstd = 0.0F;

  __device__ __forceinline__ Statistics(const NormBackwardArgs& args, std::int64_t row) {
    if (row < args.rows) {
      mean = kCentred ? static_cast<const float*>(args.mean)[row] : 0.0F;
      rstd = static_cast<const float*>(args.rstd)[row];
    }
  }
};

/// What a thread makes of its columns: the sums over rows, and dx of a row.
template <bool kCentred>
struct Columns {
  const Team& team;
  const NormBackwardArgs& args;
  int cols;
  Pack<Bf16, kBf16Pack> gain[kPer];
  float dgain[kPer][kBf16Pack] = {};
  float dbias[kCentred ? kPer : 1][kBf16Pack] = {};

  __device__ __forceinline__ Columns(const Team& of, const NormBackwardArgs& call)
      : team(of), args(call), cols(static_cast<int>(call.cols)) {
    for_each([&](int i, int first) {
      gain[i] = load_pack<kBf16Pack>(static_cast<const Bf16*>(args.gain) + first);
    });
  }

  /// f(i, first column) of the thread's packs.
  template <typename F>
  __device__ __forceinline__ void for_each(F f) const {
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const int first = (team.thread + i * team.size) * kBf16Pack;
      if (first < cols) {
        f(i, first);
      }
    }
  }
  [[nodiscard]] __device__ __forceinline__ Numbers staged(int stage, int which, int first) const {
    return Numbers(load_pack<kBf16Pack>(team.tensor(stage, which, cols) + first));
  }

  /// Adds the row to the sums over rows; sums over the thread's columns of g = gain dy and of g
  /// times the normalised z.
  __device__ __forceinline__ void include(int stage,
                                          const Statistics<kCentred>& row,
                                          float (&sums)[2]) {
    for_each([&](int i, int first) {
      const Numbers dy = staged(stage, 0, first);
      const Numbers z = staged(stage, 1, first);
      const Numbers factor(gain[i]);
#pragma unroll
      for (int j = 0; j < kBf16Pack; ++j) {
        const float scaled = dy[j] * ((kCentred ? z[j] - row.mean : z[j]) * row.rstd);
        sums[1] += factor[j] * scaled;
        dgain[i][j] += scaled;
        if constexpr (kCentred) {
          sums[0] += factor[j] * dy[j];
          dbias[i][j] += dy[j];
        }
      }
    });
  }

  /// dz = rstd g - a - b z, with all that is the same for the row's columns in a and b.
  __device__ __forceinline__ void write_dx(int stage,
                                           std::int64_t index,
                                           const Statistics<kCentred>& row,
                                           const float (&sums)[2]) const {
    const float b = sums[1] / static_cast<float>(cols) * row.rstd * row.rstd;
    const float a = kCentred ? sums[0] / static_cast<float>(cols) * row.rstd - b * row.mean : 0.0F;
    for_each([&](int i, int first) {
      const Numbers dy = staged(stage, 0, first);
      const Numbers z = staged(stage, 1, first);
      const Numbers factor(gain[i]);
      Numbers dx;
#pragma unroll
      for (int j = 0; j < kBf16Pack; ++j) {
        dx[j] = row.rstd * factor[j] * dy[j] - a - b * z[j];
      }
      if (args.dresidual != nullptr) {
        const Numbers added = staged(stage, 2, first);
#pragma unroll
        for (int j = 0; j < kBf16Pack; ++j) {
          dx[j] += added[j];
        }
      }
      store_pack(static_cast<Bf16*>(args.dx) + index * args.cols + first, dx.pack());
    });
  }

  /// The thread's sums of the gain (0) or the bias (1).
  __device__ __forceinline__ void write_sums(int which, float* to) const {
    for_each([&](int i, int first) {
#pragma unroll
      for (int j = 0; j < kBf16Pack; ++j) {
        to[first + j] = which == 0 ? dgain[i][j] : dbias[kCentred ? i : 0][j];
      }
    });
  }
};

/// Teams' sums meet in shared memory and leave as the block's rows of partial sums.
template <bool kCentred>
__device__ void write_partials(const Columns<kCentred>& columns, int num_teams, float* shared) {
  constexpr int kSums = kCentred ? 2 : 1;
  const int cols = columns.cols;
  __syncthreads();
  for (int which = 0; which < kSums; ++which) {
    columns.write_sums(which, shared + (which * num_teams + columns.team.index) * cols);
  }
  __syncthreads();
  for (int which = 0; which < kSums; ++which) {
    float* partials = static_cast<float*>(columns.args.workspace) +
                      (which * std::int64_t{gridDim.x} + blockIdx.x) * cols;
    for (int col = static_cast<int>(threadIdx.x); col < cols; col += static_cast<int>(blockDim.x)) {
      float total = 0.0F;
      for (int team = 0; team < num_teams; ++team) {
        total += shared[(which * num_teams + team) * cols + col];
      }
      partials[col] = total;
    }
  }
}

template <bool kCentred>
__global__ void __launch_bounds__(kTeamThreads, 1)
    norm_backward_kernel(const NormBackwardArgs args, int team_size) {
  extern __shared__ __align__(128) unsigned char dynamic[];
  __shared__ CopyBarrier barriers[kMaxTeams][kStages];
  __shared__ float shared[kMaxTeams][2][kMaxTeamSize / kWarp][2];
  const int num_teams = static_cast<int>(blockDim.x) / team_size;
  cudaTriggerProgrammaticLaunchCompletion();  // the next stage waits for this grid's end
  const Team team(team_size, reinterpret_cast<Bf16*>(dynamic), args.cols, barriers);
  team.init_barriers();

  const std::int64_t step = std::int64_t{gridDim.x} * num_teams;
  std::int64_t row = std::int64_t{blockIdx.x} * num_teams + team.index;
  for (int ahead = 0; ahead < kStages - 1; ++ahead) {
    team.fetch(args, row + ahead * step, ahead);
  }
  Columns<kCentred> columns(team, args);
  Statistics<kCentred> statistics(args, row);
  int stage = 0;
  std::uint32_t phase = 0;
  // All teams go round together, those past the last row without one.
  for (int turn = 0; args.rows > row - team.index; row += step, turn ^= 1) {
    const bool inside = row < args.rows;
    const Statistics<kCentred> next(args, row + step);
    float sums[2] = {};
    if (inside) {
      team.barriers[stage].wait(phase);
      columns.include(stage, statistics, sums);
    }
    team.sum(sums, shared[team.index][turn]);
    // All are past the row before this one: its stage is free.
    team.fetch(args, row + (kStages - 1) * step, (stage + kStages - 1) % kStages);
    if (inside) {
      columns.write_dx(stage, row, statistics, sums);
    }
    statistics = next;
    if (++stage == kStages) {
      stage = 0;
      phase ^= 1U;
    }
  }
  write_partials(columns, num_teams, reinterpret_cast<float*>(dynamic));
}

constexpr int kAnyThreads = 256;

/// Any number of columns at any alignment: partial sums are kept in memory, rows are read twice.
template <typename T>
__global__ void __launch_bounds__(kAnyThreads)
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

template <bool kCentred>
std::int64_t launch_teams(const NormBackwardArgs& args, Stream stream) {
  const std::int64_t warps = ceil_div(args.cols / kBf16Pack, std::int64_t{kPer} * kWarp);
  const auto team_size = static_cast<int>(std::max<std::int64_t>(warps * kWarp, 128));
  const int num_teams = kTeamThreads / team_size;
  const auto shared_bytes =
      static_cast<int>(num_teams * kStages * kStageTensors * args.cols * size_of(DataType::bf16));
  // As few blocks as take no more turns: the last turn is a full one.
  const std::int64_t turns = ceil_div(args.rows, std::int64_t{kBackwardBlocks} * num_teams);
  const std::int64_t blocks = ceil_div(args.rows, turns * num_teams);
  check_cuda(cudaFuncSetAttribute(norm_backward_kernel<kCentred>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  shared_bytes),
             "cudaFuncSetAttribute");
  norm_backward_kernel<kCentred><<<static_cast<unsigned>(blocks),
                                   static_cast<unsigned>(num_teams * team_size),
                                   static_cast<std::size_t>(shared_bytes),
                                   stream>>>(args, team_size);
  return blocks;
}

/// Launches the stage that leaves partial sums, and says how many rows of them.
template <typename T>
std::int64_t launch_backward(const NormBackwardArgs& args, Stream stream) {
  const bool aligned =
      packs_fit<T>(args.cols, {args.dy, args.z, args.gain, args.dresidual, args.dx});
  if (args.type == DataType::bf16 && aligned && args.cols <= kPer * kMaxTeamSize * kBf16Pack) {
    return args.mean != nullptr ? launch_teams<true>(args, stream)
                                : launch_teams<false>(args, stream);
  }
  const std::int64_t blocks = std::min(args.rows, kMaxPartials);
  norm_backward_any_kernel<T><<<static_cast<unsigned>(blocks), kAnyThreads, 0, stream>>>(args);
  return blocks;
}

}  // namespace

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
