#include "kernels/reshard_pack.hpp"

#include <cstddef>
#include <cstring>
#include <stdexcept>

namespace runflat::kernels {

void check_reshard_pack(const ReshardPackArgs& args) {
  const std::int64_t size = args.element_size;
  if (size < 1 || size > 16 || (size & (size - 1)) != 0) {
    throw std::invalid_argument("reshard_pack: element_size must be 1, 2, 4, 8 or 16");
  }
  for (const BoxCopy& box : args.boxes) {
    if (box.src_first < 0 || box.dst_first < 0 || box.num_blocks < 0 || box.block_size < 0 ||
        (box.num_blocks > 1 &&
         (box.src_stride < box.block_size || box.dst_stride < box.block_size))) {
      throw std::invalid_argument("reshard_pack: a box has a negative size or blocks that overlap");
    }
  }
}

void reshard_pack_reference(const ReshardPackArgs& args) {
  check_reshard_pack(args);
  const auto* src = static_cast<const std::byte*>(args.src);
  auto* dst = static_cast<std::byte*>(args.dst);
  for (const BoxCopy& box : args.boxes) {
    for (std::int64_t block = 0; block < box.num_blocks && box.block_size > 0; ++block) {
      std::memcpy(dst + (box.dst_first + block * box.dst_stride) * args.element_size,
                  src + (box.src_first + block * box.src_stride) * args.element_size,
                  static_cast<std::size_t>(box.block_size * args.element_size));
    }
  }
}

}  // namespace runflat::kernels
