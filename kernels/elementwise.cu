#include "kernels/elementwise.cuh"
#include "kernels/elementwise.hpp"
#include "kernels/partial_sums.hpp"
#include "kernels/partials.hpp"

#include <algorithm>

namespace runflat::kernels {
namespace {

template <typename T, int size>
struct Add {
  static constexpr int kNum = size;
  static constexpr int kUnroll = 2;
  struct Loaded {
    Pack<T, kNum> a;
    Pack<T, kNum> b;
  };
  AddArgs args;

  __device__ __forceinline__ Loaded load(std::int64_t first) const {
    return {load_pack<kNum>(static_cast<const T*>(args.a) + first),
            load_pack<kNum>(static_cast<const T*>(args.b) + first)};
  }
  __device__ __forceinline__ void store(std::int64_t first, const Loaded& loaded) const {
    Floats<T, kNum> y(loaded.a);
    const Floats<T, kNum> b(loaded.b);
#pragma unroll
    for (int i = 0; i < kNum; ++i) {
      y[i] += b[i];
    }
    store_pack(static_cast<T*>(args.y) + first, y.pack());
  }
};

template <typename T, int size>
struct AddBias {
  static constexpr int kNum = size;
  static constexpr int kUnroll = 4;
  using Loaded = Pack<T, kNum>;
  AddBiasArgs args;

  __device__ __forceinline__ Loaded load(std::int64_t first) const {
    return load_pack<kNum>(static_cast<const T*>(args.y) + first);
  }
  __device__ __forceinline__ void store(std::int64_t first, const Loaded& loaded) const {
    const T* bias = static_cast<const T*>(args.bias) + column_of(first, args.cols);
    Floats<T, kNum> y(loaded);
    const Floats<T, kNum> added(load_pack<kNum>(bias));
#pragma unroll
    for (int i = 0; i < kNum; ++i) {
      y[i] += added[i];
    }
    store_pack(static_cast<T*>(args.y) + first, y.pack());
  }
};

/// Packs are of as many elements as make 16 bytes of the source.
template <typename Dst>
struct CastTo {
  template <typename Src, int size>
  struct Op {
    static constexpr int kNum = size;
    static constexpr int kUnroll = 4;
    using Loaded = Pack<Src, kNum>;
    CastArgs args;

    __device__ __forceinline__ Loaded load(std::int64_t first) const {
      return load_pack<kNum>(static_cast<const Src*>(args.src) + first);
    }
    __device__ __forceinline__ void store(std::int64_t first, const Loaded& loaded) const {
      const Floats<Src, kNum> src(loaded);
      Floats<Dst, kNum> dst;
#pragma unroll
      for (int i = 0; i < kNum; ++i) {
        dst[i] = src[i];
      }
      store_pack(static_cast<Dst*>(args.dst) + first, dst.pack());
    }
  };
};

// The first stage of a sum over rows: a block takes 32 packs of columns and a run of rows, each of
// its warps every 8th row, and leaves one row of partial sums.
constexpr int kRowLanes = 8;

template <typename T, int kNum>
__global__ void __launch_bounds__(kWarp* kRowLanes)
    bias_grad_kernel(const BiasGradArgs args, std::int64_t rows_per_block) {
  __shared__ float shared[kRowLanes][kWarp * kNum];
  cudaTriggerProgrammaticLaunchCompletion();  // the next stage waits for this grid's end
  const std::int64_t pack = std::int64_t{blockIdx.x} * kWarp + threadIdx.x;
  const std::int64_t first_row = std::int64_t{blockIdx.y} * rows_per_block;
  const std::int64_t end_row = min(first_row + rows_per_block, args.rows);
  const bool inside = pack * kNum < args.cols;
  float sums[kNum] = {};
  if (inside) {
    const T* dy = static_cast<const T*>(args.dy) + pack * kNum;
#pragma unroll 4
    for (std::int64_t row = first_row + threadIdx.y; row < end_row; row += kRowLanes) {
      const Floats<T, kNum> values(load_pack<kNum>(dy + row * args.cols));
#pragma unroll
      for (int i = 0; i < kNum; ++i) {
        sums[i] += values[i];
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kNum; ++i) {
    shared[threadIdx.y][i * kWarp + threadIdx.x] = sums[i];
  }
  __syncthreads();
  float* partials = static_cast<float*>(args.workspace) + std::int64_t{blockIdx.y} * args.cols;
  const std::int64_t first_col = std::int64_t{blockIdx.x} * kWarp * kNum;
  for (int i = threadIdx.y * kWarp + threadIdx.x; i < kWarp * kNum; i += kWarp * kRowLanes) {
    float total = 0.0F;
    for (int lane = 0; lane < kRowLanes; ++lane) {
      total += shared[lane][i % kNum * kWarp + i / kNum];
    }
    if (first_col + i < args.cols) {
      partials[first_col + i] = total;
    }
  }
}

template <typename T, int kNum>
void launch_bias_grad(const BiasGradArgs& args, Stream stream) {
  const std::int64_t col_blocks = ceil_div(args.cols, std::int64_t{kWarp} * kNum);
  const std::int64_t row_blocks =
      std::clamp<std::int64_t>(2 * kMaxPartials / col_blocks, 1, std::min(kMaxPartials, args.rows));
  const std::int64_t rows_per_block = ceil_div(args.rows, row_blocks);
  const dim3 grid(static_cast<unsigned>(col_blocks),
                  static_cast<unsigned>(ceil_div(args.rows, rows_per_block)));
  bias_grad_kernel<T, kNum><<<grid, dim3(kWarp, kRowLanes), 0, stream>>>(args, rows_per_block);
  check_launch("bias_grad_kernel");
  add_partial_sums({.partials = static_cast<const float*>(args.workspace),
                    .dst = static_cast<float*>(args.dbias),
                    .num = grid.y,
                    .cols = args.cols},
                   stream);
}

}  // namespace

void add(const AddArgs& args, Stream stream) {
  with_device_type(args.type, [&]<typename T>() {
    const bool aligned = packs_fit<T>(kPackSize<T>, {args.a, args.b, args.y});
    run_elementwise<Add, T, kPackSize<T>>(args, args.num, aligned, "add", stream);
  });
}

void add_bias(const AddBiasArgs& args, Stream stream) {
  with_device_type(args.type, [&]<typename T>() {
    const bool aligned = packs_fit<T>(args.cols, {args.y, args.bias});
    run_elementwise<AddBias, T, kPackSize<T>>(
        args, args.rows * args.cols, aligned, "add_bias", stream);
  });
}

void bias_grad(const BiasGradArgs& args, Stream stream) {
  if (args.rows == 0 || args.cols == 0) {
    return;
  }
  with_device_type(args.type, [&]<typename T>() {
    if (packs_fit<T>(args.cols, {args.dy})) {
      launch_bias_grad<T, kPackSize<T>>(args, stream);
    } else {
      launch_bias_grad<T, 1>(args, stream);
    }
  });
}

void cast(const CastArgs& args, Stream stream) {
  with_device_type(args.src_type, [&]<typename Src>() {
    with_device_type(args.dst_type, [&]<typename Dst>() {
      const bool aligned = packs_fit<Src>(kPackSize<Src>, {args.src, args.dst});
      run_elementwise<CastTo<Dst>::template Op, Src, kPackSize<Src>>(
          args, args.num, aligned, "cast", stream);
    });
  });
}

}  // namespace runflat::kernels
