#pragma once

#include "kernels/data_type.hpp"

#include <cstdint>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace runflat::kernels {

/// What host code computes in for elements of type T: accumulate_type() as a C++ type.
template <typename T>
using Accumulate = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// Calls f<T>() with the host's type of a floating-point DataType.
template <typename F>
void with_host_type(DataType type, F&& f) {
  switch (type) {
    case DataType::fp32:
      return std::forward<F>(f).template operator()<float>();
    case DataType::fp64:
      return std::forward<F>(f).template operator()<double>();
    case DataType::bf16:
      return std::forward<F>(f).template operator()<BFloat16>();
    case DataType::int32:
    case DataType::int64:
      break;
  }
  throw std::invalid_argument("kernels: elements must be fp32, fp64 or bf16");
}

/// An element in the type that is computed with.
template <typename T>
[[nodiscard]] Accumulate<T> load(const T& element) {
  return static_cast<Accumulate<T>>(element);
}

}  // namespace runflat::kernels
