#pragma once

#include "core/error.hpp"

#include <fmt/format.h>
#include <string>
#include <string_view>

namespace runflat::exec {

/// A device has no memory left for an allocation: how much was asked for and how much is there.
class OutOfMemory : public InfeasibleError {
 public:
  using InfeasibleError::InfeasibleError;
};

// Settings under which less is needed.
inline constexpr std::string_view kRemedyForState =
    "zero_stage = 1 over several replicas or more tensor or pipeline parallelism needs less";
inline constexpr std::string_view kRemedyForActivations =
    "a smaller micro_batch_size, recompute = \"full\" or more tensor parallelism needs less";

/// make(), whose memory is for `what`; where there is none, the error says so and `remedy` names
/// settings that need less.
template <typename F>
auto allocating(std::string_view what, std::string_view remedy, F make) {
  try {
    return make();
  } catch (const OutOfMemory& error) {
    throw InfeasibleError(fmt::format("{} do not fit: {}; {}", what, error.what(), remedy));
  }
}

}  // namespace runflat::exec
