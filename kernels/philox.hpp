#pragma once

#include <array>
#include <cstdint>

namespace runflat::kernels {

/// Four random words of a counter and a key: Philox4x32-10 of Salmon et al., "Parallel random
/// numbers: as easy as 1, 2, 3" (SC11). Words are least significant first.
[[nodiscard]] constexpr std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                                            std::array<std::uint32_t, 2> key) {
  constexpr std::uint64_t kMultiplier0 = 0xD2511F53U;
  constexpr std::uint64_t kMultiplier1 = 0xCD9E8D57U;
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = kMultiplier0 * counter[0];
    const std::uint64_t product1 = kMultiplier1 * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32U) ^ counter[1] ^ key[0],
               static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32U) ^ counter[3] ^ key[1],
               static_cast<std::uint32_t>(product0)};
    key[0] += 0x9E3779B9U;  // the golden ratio
    key[1] += 0xBB67AE85U;  // sqrt(3) - 1
  }
  return counter;
}

/// The words of elements 4 block .. 4 block + 3 of a stream.
[[nodiscard]] constexpr std::array<std::uint32_t, 4> philox_block(std::uint64_t seed,
                                                                  std::uint64_t stream_id,
                                                                  std::uint64_t block) {
  return philox({static_cast<std::uint32_t>(block),
                 static_cast<std::uint32_t>(block >> 32U),
                 static_cast<std::uint32_t>(stream_id),
                 static_cast<std::uint32_t>(stream_id >> 32U)},
                {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32U)});
}

/// A word as a number of (0, 1), the middle of its 2^-32.
[[nodiscard]] constexpr double unit_interval(std::uint32_t word) {
  return (static_cast<double>(word) + 0.5) * 0x1p-32;
}

}  // namespace runflat::kernels
