#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace runflat::exec {

/// What an `.idx` file begins with; indexed_dataset.hpp has the whole format.
inline constexpr std::string_view kIndexMagic{"MMIDIDX\0\0", 9};
inline constexpr std::uint64_t kIndexVersion = 1;
/// Magic, version, token type, number of sequences, number of document indices.
inline constexpr std::size_t kIndexHeaderSize = 9 + 8 + 1 + 8 + 8;

}  // namespace runflat::exec
