#include "kernels/elementwise.hpp"
#include "kernels/host_dispatch.hpp"

#include <bit>
#include <cmath>

namespace runflat::kernels {
namespace {

/// bf16 by way of a float rounded to odd, so that the second rounding decides as the first would.
BFloat16 to_bf16(double value) {
  auto narrow = static_cast<float>(value);
  if (std::isfinite(narrow) && static_cast<double>(narrow) != value) {
    if (std::abs(static_cast<double>(narrow)) > std::abs(value)) {
      narrow = std::nextafter(narrow, 0.0F);
    }
    narrow = std::bit_cast<float>(std::bit_cast<std::uint32_t>(narrow) | 1U);
  }
  return BFloat16(narrow);
}

template <typename Dst, typename Src>
Dst convert(const Src& value) {
  if constexpr (std::is_same_v<Src, Dst>) {
    return value;
  } else if constexpr (std::is_same_v<Src, double> && std::is_same_v<Dst, BFloat16>) {
    return to_bf16(value);
  } else {
    return static_cast<Dst>(load(value));
  }
}

}  // namespace

void add_reference(const AddArgs& args) {
  with_host_type(args.type, [&]<typename T>() {
    const auto* a = static_cast<const T*>(args.a);
    const auto* b = static_cast<const T*>(args.b);
    auto* y = static_cast<T*>(args.y);
    for (std::int64_t i = 0; i < args.num; ++i) {
      y[i] = static_cast<T>(load(a[i]) + load(b[i]));
    }
  });
}

void add_bias_reference(const AddBiasArgs& args) {
  with_host_type(args.type, [&]<typename T>() {
    const auto* bias = static_cast<const T*>(args.bias);
    for (std::int64_t row = 0; row < args.rows; ++row) {
      T* y = static_cast<T*>(args.y) + row * args.cols;
      for (std::int64_t col = 0; col < args.cols; ++col) {
        y[col] = static_cast<T>(load(y[col]) + load(bias[col]));
      }
    }
  });
}

void bias_grad_reference(const BiasGradArgs& args) {
  with_host_type(args.type, [&]<typename T>() {
    auto* dbias = static_cast<Accumulate<T>*>(args.dbias);
    for (std::int64_t row = 0; row < args.rows; ++row) {
      const T* dy = static_cast<const T*>(args.dy) + row * args.cols;
      for (std::int64_t col = 0; col < args.cols; ++col) {
        dbias[col] += load(dy[col]);
      }
    }
  });
}

void cast_reference(const CastArgs& args) {
  with_host_type(args.src_type, [&]<typename Src>() {
    with_host_type(args.dst_type, [&]<typename Dst>() {
      const auto* src = static_cast<const Src*>(args.src);
      auto* dst = static_cast<Dst*>(args.dst);
      for (std::int64_t i = 0; i < args.num; ++i) {
        dst[i] = convert<Dst>(src[i]);
      }
    });
  });
}

}  // namespace runflat::kernels
