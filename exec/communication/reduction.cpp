#include "exec/communication/reduction.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

namespace runflat::exec {
namespace {

using kernels::BFloat16;

constexpr std::int64_t kBlockSize = 2048;  // elements; the sums of a block stay in the L1 cache

template <typename T>
using Sum = std::conditional_t<std::is_same_v<T, BFloat16>, float, T>;

template <typename T>
void accumulate(std::span<Sum<T>> sums, const T* in, ReduceOp op) {
  if (op == ReduceOp::sum) {
    for (std::size_t i = 0; i < sums.size(); ++i) {
      sums[i] += static_cast<Sum<T>>(in[i]);
    }
  } else {
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const auto value = static_cast<Sum<T>>(in[i]);
      const bool is_nan = value != value;
      sums[i] = value > sums[i] || is_nan ? value : sums[i];
    }
  }
}

template <typename T>
void reduce_as(std::span<const std::byte* const> in,
               std::span<std::byte* const> out,
               std::int64_t num,
               ReduceOp op) {
  std::array<Sum<T>, kBlockSize> memory;
  std::array<T, kBlockSize> rounded;
  for (std::int64_t first = 0; first < num; first += kBlockSize) {
    const auto size = static_cast<std::size_t>(std::min(kBlockSize, num - first));
    const std::span<Sum<T>> sums(memory.data(), size);
    const auto values = [&](const std::byte* of_rank) {
      return reinterpret_cast<const T*>(of_rank) + first;
    };
    std::transform(values(in[0]), values(in[0]) + size, sums.begin(), [](T value) {
      return static_cast<Sum<T>>(value);
    });
    for (const std::byte* of_rank : in.subspan(1)) {
      accumulate<T>(sums, values(of_rank), op);
    }
    std::transform(
        sums.begin(), sums.end(), rounded.begin(), [](Sum<T> sum) { return static_cast<T>(sum); });
    for (std::byte* of_rank : out) {
      std::memcpy(
          of_rank + first * static_cast<std::int64_t>(sizeof(T)), rounded.data(), size * sizeof(T));
    }
  }
}

}  // namespace

void reduce(std::span<const std::byte* const> in,
            std::span<std::byte* const> out,
            std::int64_t num,
            DataType type,
            ReduceOp op) {
  require(!in.empty(), "reduce: at least one rank");
  switch (type) {
    case DataType::fp32:
      return reduce_as<float>(in, out, num, op);
    case DataType::fp64:
      return reduce_as<double>(in, out, num, op);
    case DataType::bf16:
      return reduce_as<BFloat16>(in, out, num, op);
    case DataType::int32:
      return reduce_as<std::int32_t>(in, out, num, op);
    case DataType::int64:
      return reduce_as<std::int64_t>(in, out, num, op);
  }
}

}  // namespace runflat::exec
