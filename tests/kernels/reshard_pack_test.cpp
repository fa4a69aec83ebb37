#include "kernels/reshard_pack.hpp"

#include "tests/catch.hpp"
#include "tests/kernels/box_cases.hpp"

#include <stdexcept>

using namespace runflat;
using kernels::BoxCopy;

TEST_CASE("the reference moves every element of every box and nothing else",
          "[kernels][reshard_pack]") {
  tests::Dice dice(1);
  for (int round = 0; round < 100; ++round) {
    const tests::BoxCase boxes = tests::random_box_case(dice, dice.between(0, 12), 30);
    const std::int64_t size = boxes.element_size;
    const std::vector<std::byte> src = tests::random_bytes(dice, boxes.src_size * size);
    const std::vector<std::byte> before = tests::random_bytes(dice, boxes.dst_size * size);
    std::vector<std::byte> expected = before;
    for (const BoxCopy& box : boxes.boxes) {
      for (std::int64_t block = 0; block < box.num_blocks; ++block) {
        for (std::int64_t byte = 0; byte < box.block_size * size; ++byte) {
          expected.at(
              static_cast<std::size_t>((box.dst_first + block * box.dst_stride) * size + byte)) =
              src.at(
                  static_cast<std::size_t>((box.src_first + block * box.src_stride) * size + byte));
        }
      }
    }
    std::vector<std::byte> dst = before;
    kernels::reshard_pack_reference(
        {.src = src.data(), .dst = dst.data(), .element_size = size, .boxes = boxes.boxes});
    CHECK(dst == expected);
  }
}

TEST_CASE("boxes that cannot be copied are refused", "[kernels][reshard_pack]") {
  std::byte memory[64] = {};
  const auto copy = [&](const BoxCopy& box, std::int64_t element_size) {
    kernels::reshard_pack_reference({.src = memory,
                                     .dst = memory + 32,
                                     .element_size = element_size,
                                     .boxes = std::span(&box, 1)});
  };
  const BoxCopy good = {.src_stride = 2, .dst_stride = 2, .num_blocks = 2, .block_size = 2};
  CHECK_NOTHROW(copy(good, 1));
  for (const std::int64_t element_size : {-1, 0, 3, 6, 32}) {
    CHECK_THROWS_AS(copy(good, element_size), std::invalid_argument);
  }
  BoxCopy overlapping = good;
  overlapping.dst_stride = 1;
  CHECK_THROWS_AS(copy(overlapping, 1), std::invalid_argument);
  BoxCopy negative = good;
  negative.src_first = -1;
  CHECK_THROWS_AS(copy(negative, 1), std::invalid_argument);
}
