#pragma once

#include <cstdint>
#include <span>

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace runflat::kernels {

/// A run of units inside a tensor on one side, its place on the other: `num_blocks` blocks of
/// `block_size` contiguous elements, `src_stride` and `dst_stride` apart. In elements.
struct BoxCopy {
  std::int64_t src_first = 0;
  std::int64_t src_stride = 0;
  std::int64_t dst_first = 0;
  std::int64_t dst_stride = 0;
  std::int64_t num_blocks = 0;
  std::int64_t block_size = 0;
};

/// Packing (tensor to wire), unpacking (wire to tensor) and keeping (tensor to tensor) are all the
/// same copy of boxes with other strides.
struct ReshardPackArgs {
  const void* src = nullptr;
  void* dst = nullptr;
  std::int64_t element_size = 0;   ///< bytes: 1, 2, 4, 8 or 16
  std::span<const BoxCopy> boxes;  ///< in host memory, read before the call returns
};

/// Copies every box from `src` to `dst`, in device memory, in stream order, without allocating.
/// Boxes must not overlap in `dst`, and `src` and `dst` must not alias. `src` and `dst` are aligned
/// to the element; where starts and strides allow, 16 bytes move at a time. Throws CudaError when
/// a launch fails and std::invalid_argument for a size below 0 or another element size.
void reshard_pack(const ReshardPackArgs& args, CUstream_st* stream);

/// The same in host memory, at once.
void reshard_pack_reference(const ReshardPackArgs& args);

/// Throws std::invalid_argument where the arguments break the contract above.
void check_reshard_pack(const ReshardPackArgs& args);

}  // namespace runflat::kernels
