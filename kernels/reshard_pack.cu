// Copies strided boxes: what a reshard does before and after its all-to-all. The work is moving
// bytes, read once and written once, so that the copy rate of the device is the ceiling. All boxes
// of a call share one launch per vector width; their table travels in the kernel's arguments, which
// needs no device memory and no second copy. A thread block takes a tile of one box, finds the box
// once, and every thread keeps several loads in flight. Blocks that follow each other without a gap
// on both sides are joined into one, so that column-parallel runs become plain copies.

#include "kernels/cuda_error.hpp"
#include "kernels/reshard_pack.hpp"

#include <cuda_runtime.h>

#include <algorithm>

namespace runflat::kernels {
namespace {

constexpr int kThreads = 256;
// Loads of a thread in flight: eight of 16 bytes would not fit the registers.
template <int kBytes>
constexpr int kUnroll = kBytes == 16 ? 4 : 8;
template <int kBytes>
constexpr std::int64_t kTile = std::int64_t{kUnroll<kBytes>} * kThreads;  // vectors
constexpr int kBlocksPerSm = 2048 / kThreads;  // fills an SM's thread slots
constexpr int kBoxesPerLaunch = 72;            // 56 bytes each: within 4 KiB of arguments

/// A box in vectors of the launch's width; offsets stay in bytes.
struct VectorBox {
  std::int64_t src_first = 0;  // bytes
  std::int64_t src_stride = 0;
  std::int64_t dst_first = 0;
  std::int64_t dst_stride = 0;
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
template <>
struct VecOf<16> {
  using Type = uint4;
};
template <int kBytes>
using Vec = typename VecOf<kBytes>::Type;

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

/// `first` is the tile's first vector and `offset` < kTile<kBytes>. Long blocks need no division: a
/// tile meets at most one end of a block.
template <int kBytes>
__device__ Place place_of(Place first, unsigned offset, std::int64_t block_vectors) {
  if (block_vectors >= kTile<kBytes>) {
    const std::int64_t vector = first.vector + offset;
    const bool next = vector >= block_vectors;
    return {first.block + (next ? 1 : 0), vector - (next ? block_vectors : 0)};
  }
  const unsigned size = static_cast<unsigned>(block_vectors);
  const unsigned vector = static_cast<unsigned>(first.vector) + offset;
  return {first.block + vector / size, vector % size};
}

// Half of the SM's thread slots leave 64 registers for the loads in flight and their addresses.
template <int kBytes>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm / 2)
    reshard_pack_kernel(const __grid_constant__ BoxTable table) {
  for (std::int64_t tile = blockIdx.x; tile < table.num_tiles; tile += gridDim.x) {
    const VectorBox& box = table.boxes[box_of_tile(table, tile)];
    const std::int64_t tile_first = (tile - box.first_tile) * kTile<kBytes>;
    const std::int64_t left = box.num_vectors - tile_first;
    const std::int64_t block = tile_first / box.block_vectors;
    const Place first = {block, tile_first - block * box.block_vectors};
    const char* __restrict__ src = table.src + box.src_first;
    char* __restrict__ dst = table.dst + box.dst_first;
    Vec<kBytes> values[kUnroll<kBytes>];
    std::int64_t dst_offset[kUnroll<kBytes>];
#pragma unroll
    for (int i = 0; i < kUnroll<kBytes>; ++i) {
      const unsigned offset = static_cast<unsigned>(i) * kThreads + threadIdx.x;
      if (offset < left) {
        const Place place = place_of<kBytes>(first, offset, box.block_vectors);
        const std::int64_t src_offset = place.block * box.src_stride + place.vector * kBytes;
        dst_offset[i] = place.block * box.dst_stride + place.vector * kBytes;
        values[i] = __ldg(reinterpret_cast<const Vec<kBytes>*>(src + src_offset));
      }
    }
#pragma unroll
    for (int i = 0; i < kUnroll<kBytes>; ++i) {
      const unsigned offset = static_cast<unsigned>(i) * kThreads + threadIdx.x;
      if (offset < left) {
        *reinterpret_cast<Vec<kBytes>*>(dst + dst_offset[i]) = values[i];
      }
    }
  }
}

/// The box in bytes, blocks without gaps joined; block_vectors and num_vectors count bytes.
VectorBox in_bytes(const BoxCopy& box, std::int64_t element_size) {
  const bool joined =
      box.num_blocks == 1 || (box.src_stride == box.block_size && box.dst_stride == box.block_size);
  VectorBox out;
  out.src_first = box.src_first * element_size;
  out.dst_first = box.dst_first * element_size;
  out.src_stride = joined ? 0 : box.src_stride * element_size;
  out.dst_stride = joined ? 0 : box.dst_stride * element_size;
  out.num_vectors = box.num_blocks * box.block_size * element_size;
  out.block_vectors = joined ? out.num_vectors : box.block_size * element_size;
  return out;
}

/// The widest vector, in bytes, that divides every address and size of the box.
int vector_width(const ReshardPackArgs& args, const VectorBox& box) {
  const auto bits = reinterpret_cast<std::uintptr_t>(args.src) |
                    reinterpret_cast<std::uintptr_t>(args.dst) |
                    static_cast<std::uintptr_t>(box.src_first | box.src_stride | box.dst_first |
                                                box.dst_stride | box.block_vectors | 16);
  return static_cast<int>(bits & (~bits + 1));
}

template <int kBytes>
void launch(const BoxTable& table, int max_blocks, CUstream_st* stream) {
  const auto num_blocks =
      static_cast<unsigned>(std::min<std::int64_t>(table.num_tiles, max_blocks));
  reshard_pack_kernel<kBytes><<<num_blocks, kThreads, 0, stream>>>(table);
  check_cuda(cudaGetLastError(), "reshard_pack_kernel");
}

/// Copies the boxes whose vector width is kBytes.
template <int kBytes>
void copy_boxes(const ReshardPackArgs& args, int max_blocks, CUstream_st* stream) {
  BoxTable table;
  table.src = static_cast<const char*>(args.src);
  table.dst = static_cast<char*>(args.dst);
  for (const BoxCopy& copy : args.boxes) {
    VectorBox box = in_bytes(copy, args.element_size);
    if (box.num_vectors == 0 || vector_width(args, box) != kBytes) {
      continue;
    }
    box.num_vectors /= kBytes;
    box.block_vectors /= kBytes;
    box.first_tile = table.num_tiles;
    table.boxes[table.num_boxes++] = box;
    table.num_tiles += (box.num_vectors + kTile<kBytes> - 1) / kTile<kBytes>;
    if (table.num_boxes == kBoxesPerLaunch) {
      launch<kBytes>(table, max_blocks, stream);
      table.num_boxes = 0;
      table.num_tiles = 0;
    }
  }
  if (table.num_boxes > 0) {
    launch<kBytes>(table, max_blocks, stream);
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
  copy_boxes<16>(args, max_blocks, stream);
  copy_boxes<8>(args, max_blocks, stream);
  copy_boxes<4>(args, max_blocks, stream);
  copy_boxes<2>(args, max_blocks, stream);
  copy_boxes<1>(args, max_blocks, stream);
}

}  // namespace runflat::kernels
