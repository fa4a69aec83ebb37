// Lookups copy rows, a block a token. Their gradient is summed in token order whether that is asked
// for or not: the blocks of a row's first token add the gradients of all of them, which they find
// by going through the tokens between the row's first and last one. Most rows have one token or
// few, and this costs a fraction of sorting them.

#include "kernels/device.cuh"
#include "kernels/embedding.hpp"

#include <algorithm>
#include <limits>

namespace runflat::kernels {
namespace {

constexpr int kMaxThreads = 256;

/// f(column) of every pack of a row, spread over the threads of the row's blocks.
template <int kNum, typename F>
__device__ __forceinline__ void for_each_pack(std::int64_t cols, F f) {
  const std::int64_t thread = std::int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  const std::int64_t num_threads = std::int64_t{gridDim.y} * blockDim.x;
  for (std::int64_t col = thread * kNum; col < cols; col += num_threads * kNum) {
    f(col);
  }
}

template <typename T, int kNum>
__global__ void __launch_bounds__(kMaxThreads) embedding_kernel(const EmbeddingForwardArgs args) {
  const std::int64_t token = blockIdx.x;
  const std::int64_t row = args.local_row[args.ids[token]];
  const T* from = static_cast<const T*>(args.table) + row * args.cols;
  T* to = static_cast<T*>(args.y) + token * args.cols;
  for_each_pack<kNum>(args.cols, [&](std::int64_t col) {
    store_pack(to + col, row < 0 ? Pack<T, kNum>{} : load_pack<kNum>(from + col));
  });
}

template <typename T, int kNum>
__global__ void __launch_bounds__(kMaxThreads) positions_kernel(const PositionsArgs args) {
  const std::int64_t token = blockIdx.x;
  const std::int64_t position = args.first_position + token / args.batch_size;
  const T* from = static_cast<const T*>(args.table) + position * args.cols;
  T* to = static_cast<T*>(args.x) + token * args.cols;
  for_each_pack<kNum>(args.cols, [&](std::int64_t col) {
    Floats<T, kNum> sum(load_pack<kNum>(to + col));
    const Floats<T, kNum> added(load_pack<kNum>(from + col));
#pragma unroll
    for (int i = 0; i < kNum; ++i) {
      sum[i] += added[i];
    }
    store_pack(to + col, sum.pack());
  });
}

/// dst[col] += the sum over i of src[i, col], where row i of src starts at row_of(i).
template <typename T, int kNum, typename F>
__device__ __forceinline__ void add_rows(float* dst,
                                         std::int64_t cols,
                                         std::int64_t num,
                                         F row_of) {
  for_each_pack<kNum>(cols, [&](std::int64_t col) {
    Floats<float, kNum> total(load_pack<kNum>(dst + col));
    float sum[kNum] = {};
#pragma unroll 4
    for (std::int64_t i = 0; i < num; ++i) {
      const Floats<T, kNum> values(load_pack<kNum>(row_of(i) + col));
#pragma unroll
      for (int j = 0; j < kNum; ++j) {
        sum[j] += values[j];
      }
    }
#pragma unroll
    for (int j = 0; j < kNum; ++j) {
      total[j] += sum[j];
    }
    store_pack(dst + col, total.pack());
  });
}

template <typename T, int kNum>
__global__ void __launch_bounds__(kMaxThreads) positions_grad_kernel(const PositionsArgs args) {
  const std::int64_t first_token = std::int64_t{blockIdx.x} * args.batch_size;
  const std::int64_t num = min(args.batch_size, args.tokens - first_token);
  float* dst = static_cast<float*>(args.dtable) + (args.first_position + blockIdx.x) * args.cols;
  add_rows<T, kNum>(dst, args.cols, num, [&](std::int64_t i) {
    return static_cast<const T*>(args.x) + (first_token + i) * args.cols;
  });
}

/// Pieces of embedding_backward's workspace.
struct TokenIndex {
  std::int32_t* rows;   ///< [tokens]: the row of each; -1: not here
  std::int32_t* first;  ///< [local rows]: the first token of a row; anything where it has none
  std::int32_t* last;   ///< [local rows]: the last one

  explicit TokenIndex(const EmbeddingBackwardArgs& args)
      : rows(static_cast<std::int32_t*>(args.workspace)),
        first(rows + args.tokens),
        last(first + args.local_rows) {}
};

/// Resets the rows that have a token.
__global__ void __launch_bounds__(kMaxThreads)
    rows_of_tokens_kernel(const EmbeddingBackwardArgs args, const TokenIndex index) {
  cudaTriggerProgrammaticLaunchCompletion();  // the next stages wait for this grid's end
  const std::int64_t token = std::int64_t{blockIdx.x} * kMaxThreads + threadIdx.x;
  if (token < args.tokens) {
    const std::int32_t row = args.local_row[args.ids[token]];
    index.rows[token] = row;
    if (row >= 0) {
      index.first[row] = std::numeric_limits<std::int32_t>::max();
      index.last[row] = -1;
    }
  }
}

__global__ void __launch_bounds__(kMaxThreads)
    ends_of_rows_kernel(const EmbeddingBackwardArgs args, const TokenIndex index) {
  cudaTriggerProgrammaticLaunchCompletion();
  const std::int64_t token = std::int64_t{blockIdx.x} * kMaxThreads + threadIdx.x;
  cudaGridDependencySynchronize();
  if (token < args.tokens && index.rows[token] >= 0) {
    const std::int32_t row = index.rows[token];
    atomicMin(index.first + row, static_cast<std::int32_t>(token));
    atomicMax(index.last + row, static_cast<std::int32_t>(token));
  }
}

constexpr int kLooks = 4;  // tokens that a thread looks at between two barriers
constexpr int kListSize = 2 * kLooks * kMaxThreads;

/// Lists tokens of `row` from `next` to `last`, in order, as many as the list holds, and says how
/// many these are; `next` moves past all that were looked at.
__device__ int list_tokens(const std::int32_t* rows,
                           std::int32_t row,
                           std::int64_t last,
                           std::int64_t& next,
                           std::int32_t* list) {
  __shared__ int counts[kLooks][kMaxThreads / kWarp];
  const int num_threads = static_cast<int>(blockDim.x);
  const int thread = static_cast<int>(threadIdx.x);
  int num = 0;
  while (next <= last && num + kLooks * num_threads <= kListSize) {
    unsigned found[kLooks];
#pragma unroll
    for (int look = 0; look < kLooks; ++look) {
      const std::int64_t token = next + look * num_threads + thread;
      found[look] = __ballot_sync(0xffffffffU, token <= last && rows[token] == row);
      if (thread % kWarp == 0) {
        counts[look][thread / kWarp] = __popc(found[look]);
      }
    }
    __syncthreads();
#pragma unroll
    for (int look = 0; look < kLooks; ++look) {
      for (int warp = 0; warp < num_threads / kWarp; ++warp) {
        const unsigned own_bit = 1U << (thread % kWarp);
        if (warp == thread / kWarp && (found[look] & own_bit) != 0) {
          const std::int64_t token = next + look * num_threads + thread;
          list[num + __popc(found[look] & (own_bit - 1))] = static_cast<std::int32_t>(token);
        }
        num += counts[look][warp];
      }
    }
    next += kLooks * num_threads;
    __syncthreads();
  }
  return num;
}

/// A row's first token's blocks add the gradients of all of its tokens.
template <typename T, int kNum>
__global__ void __launch_bounds__(kMaxThreads)
    embedding_grad_kernel(const EmbeddingBackwardArgs args, const TokenIndex index) {
  __shared__ std::int32_t list[kListSize];
  const std::int64_t token = blockIdx.x;
  cudaGridDependencySynchronize();
  const std::int32_t row = index.rows[token];
  if (row < 0 || index.first[row] != token) {
    return;
  }
  const std::int64_t last = index.last[row];
  const T* dy = static_cast<const T*>(args.dy);
  float* dst = static_cast<float*>(args.dtable) + std::int64_t{row} * args.cols;
  if (last == token) {  // most rows have one
    add_rows<T, kNum>(
        dst, args.cols, 1, [&](std::int64_t /*i*/) { return dy + token * args.cols; });
    return;
  }
  for (std::int64_t next = token; next <= last;) {
    const int num = list_tokens(index.rows, row, last, next, list);
    add_rows<T, kNum>(dst, args.cols, num, [&](std::int64_t i) {
      return dy + std::int64_t{list[i]} * args.cols;
    });
    __syncthreads();
  }
}

/// Calls launch<kNum>(threads) with packs where the addresses allow it.
template <typename T, typename F>
void launch_rows(std::int64_t cols, bool aligned, const char* name, F launch) {
  const std::int64_t num_packs = aligned ? cols / kPackSize<T> : cols;
  const auto threads = static_cast<unsigned>(
      std::clamp<std::int64_t>(ceil_div(num_packs, kWarp) * kWarp, kWarp, kMaxThreads));
  if (aligned) {
    launch.template operator()<kPackSize<T>>(threads);
  } else {
    launch.template operator()<1>(threads);
  }
  check_launch(name);
}

}  // namespace

void embedding_forward(const EmbeddingForwardArgs& args, Stream stream) {
  if (args.tokens == 0) {
    return;
  }
  with_device_type(args.type, [&]<typename T>() {
    const bool aligned = packs_fit<T>(args.cols, {args.table, args.y});
    launch_rows<T>(args.cols, aligned, "embedding_kernel", [&]<int kNum>(unsigned threads) {
      embedding_kernel<T, kNum><<<static_cast<unsigned>(args.tokens), threads, 0, stream>>>(args);
    });
  });
}

void embedding_backward(const EmbeddingBackwardArgs& args, Stream stream) {
  if (args.tokens == 0) {
    return;
  }
  const TokenIndex index(args);
  const auto token_blocks = static_cast<unsigned>(ceil_div(args.tokens, kMaxThreads));
  rows_of_tokens_kernel<<<token_blocks, kMaxThreads, 0, stream>>>(args, index);
  check_launch("rows_of_tokens_kernel");
  launch_early(ends_of_rows_kernel, token_blocks, kMaxThreads, stream, args, index);
  with_device_type(args.type, [&]<typename T>() {
    const bool aligned = packs_fit<T>(args.cols, {args.dy, args.dtable});
    launch_rows<T>(args.cols, aligned, "embedding_grad_kernel", [&]<int kNum>(unsigned threads) {
      const dim3 grid(static_cast<unsigned>(args.tokens),
                      static_cast<unsigned>(ceil_div(args.cols, std::int64_t{threads} * kNum)));
      launch_early(embedding_grad_kernel<T, kNum>, grid, threads, stream, args, index);
    });
  });
}

void positions_forward(const PositionsArgs& args, Stream stream) {
  if (args.tokens == 0) {
    return;
  }
  with_device_type(args.type, [&]<typename T>() {
    const bool aligned = packs_fit<T>(args.cols, {args.x, args.table});
    launch_rows<T>(args.cols, aligned, "positions_kernel", [&]<int kNum>(unsigned threads) {
      positions_kernel<T, kNum><<<static_cast<unsigned>(args.tokens), threads, 0, stream>>>(args);
    });
  });
}

void positions_backward(const PositionsArgs& args, Stream stream) {
  if (args.tokens == 0) {
    return;
  }
  with_device_type(args.type, [&]<typename T>() {
    const bool aligned = packs_fit<T>(args.cols, {args.x, args.dtable});
    const auto positions = static_cast<unsigned>(ceil_div(args.tokens, args.batch_size));
    launch_rows<T>(args.cols, aligned, "positions_grad_kernel", [&]<int kNum>(unsigned threads) {
      positions_grad_kernel<T, kNum><<<positions, threads, 0, stream>>>(args);
    });
  });
}

}  // namespace runflat::kernels
