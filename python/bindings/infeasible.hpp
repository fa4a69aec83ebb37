#pragma once

#include "core/error.hpp"

#include <utility>

namespace runflat::python {

/// Here an `Infeasible` leaves C++: it becomes the exception of that name.
template <typename T>
[[nodiscard]] T value_or_throw(Expected<T, Infeasible> result) {
  if (!result) {
    throw InfeasibleError(result.error().reason);
  }
  return std::move(result).value();
}

}  // namespace runflat::python
