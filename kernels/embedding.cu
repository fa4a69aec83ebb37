// Lookups copy rows, a block a token. Their gradient is summed in token order whether that is asked
// for or not: tokens are sorted by row (CUB's radix sort is stable), and the block of a row's first
// token adds the gradients of all of them, with no two blocks on one row.

#include "kernels/device.cuh"
#include "kernels/embedding.hpp"
#include "kernels/partials.hpp"

#include <algorithm>
#include <bit>
#include <cub/device/device_radix_sort.cuh>

namespace runflat::kernels {
namespace {

constexpr int kMaxThreads = 256;

/// f(column) of every pack of a row, spread over the block's threads.
template <int kNum, typename F>
__device__ __forceinline__ void for_each_pack(std::int64_t cols, F f) {
  for (std::int64_t col = std::int64_t{threadIdx.x} * kNum; col < cols;
       col += std::int64_t{blockDim.x} * kNum) {
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
    float sum[kNum] = {};
#pragma unroll 4
    for (std::int64_t i = 0; i < num; ++i) {
      const Floats<T, kNum> values(load_pack<kNum>(row_of(i) + col));
#pragma unroll
      for (int j = 0; j < kNum; ++j) {
        sum[j] += values[j];
      }
    }
    Floats<float, kNum> total(load_pack<kNum>(dst + col));
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
struct SortSpace {
  std::int32_t* rows;
  std::int32_t* sorted_rows;
  std::int32_t* tokens;
  std::int32_t* sorted_tokens;
  void* scratch;
  std::size_t scratch_bytes;

  explicit SortSpace(const EmbeddingBackwardArgs& args) {
    auto* next = static_cast<char*>(args.workspace);
    const std::int64_t bytes = (args.tokens * 4 + 255) / 256 * 256;
    for (std::int32_t** array : {&rows, &sorted_rows, &tokens, &sorted_tokens}) {
      *array = reinterpret_cast<std::int32_t*>(next);
      next += bytes;
    }
    scratch = next;
    scratch_bytes = static_cast<std::size_t>(sort_bytes(args.tokens));
  }
};

/// Rows that are not here sort behind all others, as row local_rows.
__global__ void __launch_bounds__(kMaxThreads)
    rows_of_tokens_kernel(const EmbeddingBackwardArgs args, const SortSpace space) {
  const std::int64_t token = std::int64_t{blockIdx.x} * kMaxThreads + threadIdx.x;
  if (token < args.tokens) {
    const std::int32_t row = args.local_row[args.ids[token]];
    space.rows[token] = row < 0 ? static_cast<std::int32_t>(args.local_rows) : row;
    space.tokens[token] = static_cast<std::int32_t>(token);
  }
}

void sort_by_row(const EmbeddingBackwardArgs& args, SortSpace& space, Stream stream) {
  const int num_bits = std::bit_width(static_cast<std::uint64_t>(args.local_rows));
  const auto sort = [&](void* scratch, std::size_t& bytes) {
    check_cuda(cub::DeviceRadixSort::SortPairs(scratch,
                                               bytes,
                                               space.rows,
                                               space.sorted_rows,
                                               space.tokens,
                                               space.sorted_tokens,
                                               static_cast<int>(args.tokens),
                                               0,
                                               num_bits,
                                               stream),
               "cub::DeviceRadixSort::SortPairs");
  };
  std::size_t needed = 0;
  sort(nullptr, needed);
  if (needed > space.scratch_bytes) {
    throw std::runtime_error("embedding_backward: the workspace is too small for CUB's sort");
  }
  sort(space.scratch, space.scratch_bytes);
}

/// One past the last of the tokens of a row, from `first` on.
__device__ std::int64_t end_of_row(const std::int32_t* rows, std::int64_t first, std::int64_t num) {
  const std::int32_t row = rows[first];
  std::int64_t low = first;  // of the row
  std::int64_t high = num;   // not of the row, or past the end
  for (std::int64_t step = 1; low + step < num; step *= 2) {
    if (rows[low + step] != row) {
      high = low + step;
      break;
    }
    low += step;
  }
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    (rows[middle] == row ? low : high) = middle;
  }
  return high;
}

template <typename T, int kNum>
__global__ void __launch_bounds__(kMaxThreads)
    embedding_grad_kernel(const EmbeddingBackwardArgs args, const SortSpace space) {
  const std::int64_t first = blockIdx.x;
  const std::int32_t row = space.sorted_rows[first];
  if (row == args.local_rows || (first > 0 && space.sorted_rows[first - 1] == row)) {
    return;
  }
  const std::int64_t num = end_of_row(space.sorted_rows, first, args.tokens) - first;
  float* dst = static_cast<float*>(args.dtable) + std::int64_t{row} * args.cols;
  add_rows<T, kNum>(dst, args.cols, num, [&](std::int64_t i) {
    return static_cast<const T*>(args.dy) + space.sorted_tokens[first + i] * args.cols;
  });
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
  SortSpace space(args);
  rows_of_tokens_kernel<<<static_cast<unsigned>(ceil_div(args.tokens, kMaxThreads)),
                          kMaxThreads,
                          0,
                          stream>>>(args, space);
  check_launch("rows_of_tokens_kernel");
  sort_by_row(args, space, stream);
  with_device_type(args.type, [&]<typename T>() {
    const bool aligned = packs_fit<T>(args.cols, {args.dy, args.dtable});
    launch_rows<T>(args.cols, aligned, "embedding_grad_kernel", [&]<int kNum>(unsigned threads) {
      embedding_grad_kernel<T, kNum>
          <<<static_cast<unsigned>(args.tokens), threads, 0, stream>>>(args, space);
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
