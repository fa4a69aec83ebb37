#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace runflat::kernels {

/// Where device operations are queued; nullptr on the host, where they happen at once.
using Stream = CUstream_st*;

enum class DataType : std::uint8_t { fp32, fp64, bf16, int32, int64 };

[[nodiscard]] constexpr std::int64_t size_of(DataType type) {
  switch (type) {
    case DataType::bf16:
      return 2;
    case DataType::fp32:
    case DataType::int32:
      return 4;
    case DataType::fp64:
    case DataType::int64:
      return 8;
  }
  return 0;
}

/// What sums, statistics, main gradients and optimizer state are kept in where tensors hold `type`.
[[nodiscard]] constexpr DataType accumulate_type(DataType type) {
  return type == DataType::fp64 ? DataType::fp64 : DataType::fp32;
}

/// bfloat16 in host memory, with the bits of __nv_bfloat16: rounds to nearest even, keeps NaN.
class BFloat16 {
 public:
  BFloat16() = default;
  explicit BFloat16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = bits + 0x7fffU + ((bits >> 16U) & 1U);
    bits_ = static_cast<std::uint16_t>((std::isnan(value) ? (bits | 0x400000U) : rounded) >> 16U);
  }
  explicit operator float() const {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits_) << 16U);
  }
  explicit operator double() const { return static_cast<double>(static_cast<float>(*this)); }

 private:
  std::uint16_t bits_ = 0;
};

}  // namespace runflat::kernels
