#pragma once

#include <cstdint>

namespace runflat::kernels {

/// Reductions over rows leave at most so many rows of fp32 partial sums, which a second launch adds
/// up in order: four blocks for each of an H200's 132 SMs.
inline constexpr std::int64_t kMaxPartials = 528;

/// Partial sums of squares, in fp64: eight blocks for each SM. The order of additions must not
/// depend on the device.
inline constexpr std::int64_t kSquaredSumPartials = 1056;

}  // namespace runflat::kernels
