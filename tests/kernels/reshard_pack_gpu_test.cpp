#include "kernels/reshard_pack.hpp"
#include "tests/catch.hpp"
#include "tests/kernels/box_cases.hpp"
#include "tests/kernels/device_memory.hpp"

using namespace runflat;
using kernels::BoxCopy;
using tests::DeviceBytes;

namespace {

/// Runs kernel and reference on the same bytes, the sides shifted off their allocations' starts by
/// whole elements.
void check_against_reference(const tests::BoxCase& boxes, tests::Dice& dice) {
  const std::int64_t size = boxes.element_size;
  const std::int64_t src_shift = size * dice.between(0, 3);
  const std::int64_t dst_shift = size * dice.between(0, 3);
  const auto src = tests::random_bytes(dice, boxes.src_size * size + src_shift + 1);
  std::vector<std::byte> expected(static_cast<std::size_t>(boxes.dst_size * size + dst_shift + 1),
                                  std::byte{0xa5});
  const DeviceBytes device_src(src);
  const DeviceBytes device_dst(expected);
  kernels::reshard_pack_reference({.src = src.data() + src_shift,
                                   .dst = expected.data() + dst_shift,
                                   .element_size = size,
                                   .boxes = boxes.boxes});
  const tests::DeviceStream stream;
  kernels::reshard_pack({.src = device_src.data() + src_shift,
                         .dst = device_dst.data() + dst_shift,
                         .element_size = size,
                         .boxes = boxes.boxes},
                        stream.get());
  stream.finish();
  CHECK(device_dst.read(0, static_cast<std::int64_t>(expected.size())) == expected);
}

}  // namespace

TEST_CASE("the kernel copies what the reference copies, at odd sizes and misaligned starts",
          "[kernels][reshard_pack][gpu]") {
  tests::Dice dice(1);
  for (int round = 0; round < 300; ++round) {
    CAPTURE(round);
    check_against_reference(tests::random_box_case(dice, dice.between(0, 12), 300), dice);
  }
}

TEST_CASE("the kernel copies blocks longer than a tile, and more boxes than one launch holds",
          "[kernels][reshard_pack][gpu]") {
  tests::Dice dice(2);
  for (int round = 0; round < 10; ++round) {
    CAPTURE(round);
    check_against_reference(tests::random_box_case(dice, 3, 20000), dice);
    check_against_reference(tests::random_box_case(dice, 200, 20), dice);
  }
}

TEST_CASE("an empty list of boxes is no work", "[kernels][reshard_pack][gpu]") {
  CHECK_NOTHROW(kernels::reshard_pack({.element_size = 2, .boxes = {}}, nullptr));
}

TEST_CASE("the kernel addresses more than 2^31 elements", "[kernels][reshard_pack][gpu]") {
  // One block, an odd number of bf16 elements from an odd start: 2^31 + 1001 vectors of 2 bytes.
  constexpr std::int64_t kSize = 2;
  constexpr std::int64_t kElements = (std::int64_t{1} << 31) + 1001;
  constexpr std::int64_t kPatch = 1 << 20;  // elements that are compared, at either end
  tests::Dice dice(3);
  DeviceBytes src((kElements + 1) * kSize);
  DeviceBytes dst(kElements * kSize);
  const auto head = tests::random_bytes(dice, kPatch * kSize);
  const auto tail = tests::random_bytes(dice, kPatch * kSize);
  src.fill(0x3c);
  dst.fill(0);
  src.write(kSize, head);
  src.write((1 + kElements - kPatch) * kSize, tail);
  const BoxCopy box = {.src_first = 1, .num_blocks = 1, .block_size = kElements};
  const tests::DeviceStream stream;
  kernels::reshard_pack(
      {.src = src.data(), .dst = dst.data(), .element_size = kSize, .boxes = std::span(&box, 1)},
      stream.get());
  stream.finish();
  CHECK(dst.read(0, kPatch * kSize) == head);
  CHECK(dst.read((kElements - kPatch) * kSize, kPatch * kSize) == tail);
  CHECK(dst.read(kElements / 2 * kSize, kPatch * kSize) ==
        std::vector<std::byte>(kPatch * kSize, std::byte{0x3c}));
}
