// Copies strided boxes: what a reshard does before and after its all-to-all. The work is moving
// bytes, read once and written once, so that the copy rate of the device is the ceiling. All boxes
// of a call share one launch per vector width; their table travels in the kernel's arguments, which
// needs no device memory and no second copy. A thread block takes a tile of one box, finds the box
// once, and every thread keeps several loads in flight. Blocks that follow each other without a gap
// on both sides are joined into one, so that column-parallel runs become plain copies. Where source
// and destination are not aligned alike, a thread stores 16 aligned bytes that it cuts out of 32.

#include "kernels/cuda_error.hpp"
#include "kernels/reshard_pack.hpp"

#include <cuda_runtime.h>

#include <algorithm>

namespace runflat::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kVector = 16;                    // bytes
constexpr int kUnroll = 4;                     // vectors of a thread in flight
constexpr int kTile = kUnroll * kThreads;      // vectors
constexpr int kBlocksPerSm = 2048 / kThreads;  // fills an SM's thread slots
constexpr int kBoxesPerLaunch = 63;            // 64 bytes each: within 4 KiB of arguments

/// A box in vectors of 16 bytes, as they are stored; all else is in bytes. A block that does not
/// start with a vector has as many as one that does so least: some may hold nothing of it.
struct VectorBox {
  std::int64_t src_first = 0;
  std::int64_t src_stride = 0;
  std::int64_t dst_first = 0;
  std::int64_t dst_stride = 0;
  std::int64_t block_bytes = 0;
  std::int64_t block_vectors = 0;
  std::int64_t num_vectors = 0;
  std::int64_t first_tile = 0;
};

struct BoxTable {
  const char* src = nullptr;
  char* dst = nullptr;
  std::int64_t num_tiles = 0;
  int num_boxes = 0;
  VectorBox boxes[kBoxesPerLaunch];
};
static_assert(sizeof(BoxTable) <= 4096, "kernel arguments");

template <int kBytes>
struct VecOf;
template <>
struct VecOf<1> {
  using Type = unsigned char;
};
template <>
struct VecOf<2> {
  using Type = unsigned short;
};
template <>
struct VecOf<4> {
  using Type = unsigned int;
};
template <>
struct VecOf<8> {
  using Type = uint2;
};

/// The box of a tile: the last one that starts at or before it.
__device__ int box_of_tile(const BoxTable& table, std::int64_t tile) {
  int low = 0;
  int high = table.num_boxes;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (table.boxes[middle].first_tile <= tile ? low : high) = middle;
  }
  return low;
}

/// Where a vector of a tile lies inside its box.
struct Place {
  std::int64_t block;
  std::int64_t vector;  // within the block
};

/// `first` is the tile's first vector and `offset` < kTile. Long blocks need no division: a tile
/// meets at most one end of a block.
__device__ Place place_of(Place first, unsigned offset, std::int64_t block_vectors) {
  if (block_vectors >= kTile) {
    const std::int64_t vector = first.vector + offset;
    const bool next = vector >= block_vectors;
    return {first.block + (next ? 1 : 0), vector - (next ? block_vectors : 0)};
  }
  const unsigned size = static_cast<unsigned>(block_vectors);
  const unsigned vector = static_cast<unsigned>(first.vector) + offset;
  return {first.block + vector / size, vector % size};
}

/// A vector of blocks that start and end with one on both sides.
struct AlignedVector {
  uint4 value;
  char* to;

  __device__ __forceinline__ void load(const char* src, char* dst, const VectorBox& box, Place at) {
    to = dst + at.block * box.dst_stride + at.vector * kVector;
    value = __ldg(
        reinterpret_cast<const uint4*>(src + at.block * box.src_stride + at.vector * kVector));
  }
  __device__ __forceinline__ void store() const { *reinterpret_cast<uint4*>(to) = value; }
};

/// 16 aligned bytes of the destination, where the source is aligned to kBytes: cut out of two
/// vectors, or, where these or the 16 bytes reach out of the block, of which nothing may be read or
/// written, kBytes by kBytes.
template <int kBytes>
struct ShiftedVector {
  uint4 low;
  uint4 high;
  const char* from;  // where the 16 bytes start in the source, inside the block or not
  char* to;
  int first;  // the first of the 16 bytes that the block has; -1: `low` and `high` hold them all
  int end;    // one past the last

  __device__ __forceinline__ void load(const char* src, char* dst, const VectorBox& box, Place at) {
    char* row = dst + at.block * box.dst_stride;
    const auto phase = static_cast<int>(reinterpret_cast<std::uintptr_t>(row) % kVector);
    const std::int64_t begin = at.vector * kVector - phase;  // inside the block
    from = src + at.block * box.src_stride + begin;
    to = row + begin;
    const int shift = shift_of();
    const int window = shift == 0 ? kVector : 2 * kVector;
    if (begin >= shift && begin - shift + window <= box.block_bytes) {
      const auto* vectors = reinterpret_cast<const uint4*>(from - shift);
      low = __ldg(vectors);
      high = shift == 0 ? low : __ldg(vectors + 1);
      first = -1;
      return;
    }
    first = begin < 0 ? static_cast<int>(-begin) : 0;
    end = static_cast<int>(min(box.block_bytes - begin, std::int64_t{kVector}));
  }

  __device__ __forceinline__ void store() const {
    if (first < 0) {
      *reinterpret_cast<uint4*>(to) = cut();
      return;
    }
    using Element = typename VecOf<kBytes>::Type;
    for (int i = first; i + kBytes <= end; i += kBytes) {
      *reinterpret_cast<Element*>(to + i) = __ldg(reinterpret_cast<const Element*>(from + i));
    }
  }

 private:
  [[nodiscard]] __device__ __forceinline__ int shift_of() const {
    return static_cast<int>(reinterpret_cast<std::uintptr_t>(from) % kVector);
  }

  /// The 16 bytes from `shift` on of low and high.
  [[nodiscard]] __device__ __forceinline__ uint4 cut() const {
    const int shift = shift_of();
    unsigned w[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int i = 0; i < 6; ++i) {
      w[i] = (shift & 8) != 0 ? w[i + 2] : w[i];
    }
    if constexpr (kBytes < 8) {
#pragma unroll
      for (int i = 0; i < 5; ++i) {
        w[i] = (shift & 4) != 0 ? w[i + 1] : w[i];
      }
    }
    if constexpr (kBytes < 4) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        w[i] = __funnelshift_r(w[i], w[i + 1], static_cast<unsigned>(shift & 3) * 8);
      }
    }
    return {w[0], w[1], w[2], w[3]};
  }
};

// Half of the SM's thread slots leave 64 registers for the loads in flight and their addresses.
template <typename Vector>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm / 2)
    reshard_pack_kernel(const __grid_constant__ BoxTable table) {
  for (std::int64_t tile = blockIdx.x; tile < table.num_tiles; tile += gridDim.x) {
    const VectorBox& box = table.boxes[box_of_tile(table, tile)];
    const std::int64_t tile_first = (tile - box.first_tile) * kTile;
    const std::int64_t left = box.num_vectors - tile_first;
    const std::int64_t block = tile_first / box.block_vectors;
    const Place first = {block, tile_first - block * box.block_vectors};
    const char* src = table.src + box.src_first;
    char* dst = table.dst + box.dst_first;
    Vector vectors[kUnroll];
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      const unsigned offset = static_cast<unsigned>(i) * kThreads + threadIdx.x;
      if (offset < left) {
        vectors[i].load(src, dst, box, place_of(first, offset, box.block_vectors));
      }
    }
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      if (static_cast<unsigned>(i) * kThreads + threadIdx.x < left) {
        vectors[i].store();
      }
    }
  }
}

/// The box with blocks without gaps joined, its vectors not yet counted.
VectorBox in_bytes(const BoxCopy& box, std::int64_t element_size) {
  const bool joined =
      box.num_blocks == 1 || (box.src_stride == box.block_size && box.dst_stride == box.block_size);
  VectorBox out;
  out.src_first = box.src_first * element_size;
  out.dst_first = box.dst_first * element_size;
  out.src_stride = joined ? 0 : box.src_stride * element_size;
  out.dst_stride = joined ? 0 : box.dst_stride * element_size;
  out.block_bytes = (joined ? box.num_blocks : 1) * box.block_size * element_size;
  out.num_vectors = joined ? 1 : box.num_blocks;  // times block_vectors
  return out;
}

/// The largest power of two up to 16 that divides every address and size of the box.
int alignment_of(const ReshardPackArgs& args, const VectorBox& box) {
  const auto bits = reinterpret_cast<std::uintptr_t>(args.src) |
                    reinterpret_cast<std::uintptr_t>(args.dst) |
                    static_cast<std::uintptr_t>(box.src_first | box.src_stride | box.dst_first |
                                                box.dst_stride | box.block_bytes | kVector);
  return static_cast<int>(bits & (~bits + 1));
}

template <typename Vector>
void launch(const BoxTable& table, int max_blocks, CUstream_st* stream) {
  const auto num_blocks =
      static_cast<unsigned>(std::min<std::int64_t>(table.num_tiles, max_blocks));
  reshard_pack_kernel<Vector><<<num_blocks, kThreads, 0, stream>>>(table);
  check_cuda(cudaGetLastError(), "reshard_pack_kernel");
}

/// Copies the boxes of this alignment.
template <typename Vector>
void copy_boxes(const ReshardPackArgs& args, int alignment, int max_blocks, CUstream_st* stream) {
  BoxTable table;
  table.src = static_cast<const char*>(args.src);
  table.dst = static_cast<char*>(args.dst);
  for (const BoxCopy& copy : args.boxes) {
    VectorBox box = in_bytes(copy, args.element_size);
    if (box.num_vectors == 0 || box.block_bytes == 0 || alignment_of(args, box) != alignment) {
      continue;
    }
    // Shifted by up to 16 - alignment bytes, a block may reach into one vector more.
    box.block_vectors = (box.block_bytes + 2 * kVector - alignment - 1) / kVector;
    box.num_vectors *= box.block_vectors;
    box.first_tile = table.num_tiles;
    table.boxes[table.num_boxes++] = box;
    table.num_tiles += (box.num_vectors + kTile - 1) / kTile;
    if (table.num_boxes == kBoxesPerLaunch) {
      launch<Vector>(table, max_blocks, stream);
      table.num_boxes = 0;
      table.num_tiles = 0;
    }
  }
  if (table.num_boxes > 0) {
    launch<Vector>(table, max_blocks, stream);
  }
}

int max_resident_blocks() {
  int device = 0;
  int num_sms = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaDeviceGetAttribute(&num_sms, cudaDevAttrMultiProcessorCount, device),
             "cudaDeviceGetAttribute");
  return num_sms * kBlocksPerSm;
}

}  // namespace

void reshard_pack(const ReshardPackArgs& args, CUstream_st* stream) {
  check_reshard_pack(args);
  const int max_blocks = max_resident_blocks();
  copy_boxes<AlignedVector>(args, 16, max_blocks, stream);
  copy_boxes<ShiftedVector<8>>(args, 8, max_blocks, stream);
  copy_boxes<ShiftedVector<4>>(args, 4, max_blocks, stream);
  copy_boxes<ShiftedVector<2>>(args, 2, max_blocks, stream);
  copy_boxes<ShiftedVector<1>>(args, 1, max_blocks, stream);
}

}  // namespace runflat::kernels
