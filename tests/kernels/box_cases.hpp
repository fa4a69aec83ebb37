#pragma once

#include "kernels/reshard_pack.hpp"
#include "tests/dice.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace runflat::tests {

/// Boxes that do not overlap on either side, and how much memory the sides need, in elements.
struct BoxCase {
  std::int64_t element_size = 0;
  std::vector<kernels::BoxCopy> boxes;
  std::int64_t src_size = 0;
  std::int64_t dst_size = 0;
};

/// Boxes of odd sizes at misaligned starts, a few of them empty, without gaps, or well aligned.
[[nodiscard]] inline BoxCase random_box_case(Dice& dice,
                                             std::int64_t num_boxes,
                                             std::int64_t longest_block) {
  BoxCase out;
  out.element_size = std::int64_t{1} << dice.between(0, 4);
  for (std::int64_t i = 0; i < num_boxes; ++i) {
    const bool aligned = dice.one_in(3);
    const std::int64_t step = aligned ? 16 : 1;  // elements: any alignment, or 16 bytes and more
    const auto gap = [&] { return dice.one_in(3) ? 0 : step * dice.between(1, 9); };
    const auto round_up = [&](std::int64_t n) { return (n + step - 1) / step * step; };
    kernels::BoxCopy box;
    box.num_blocks = dice.one_in(10) ? 0 : dice.between(1, 40);
    box.block_size = dice.one_in(10) ? 0 : round_up(dice.between(1, longest_block));
    box.src_stride = box.block_size + gap();
    box.dst_stride = box.block_size + gap();
    box.src_first = round_up(out.src_size + dice.between(0, 5));
    box.dst_first = round_up(out.dst_size + dice.between(0, 5));
    out.src_size = box.src_first + box.num_blocks * box.src_stride;
    out.dst_size = box.dst_first + box.num_blocks * box.dst_stride;
    out.boxes.push_back(box);
  }
  dice.shuffle(out.boxes);
  return out;
}

[[nodiscard]] inline std::vector<std::byte> random_bytes(Dice& dice, std::int64_t num_bytes) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(num_bytes));
  for (std::byte& byte : bytes) {
    byte = static_cast<std::byte>(dice.between(0, 255));
  }
  return bytes;
}

}  // namespace runflat::tests
