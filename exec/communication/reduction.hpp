#pragma once

#include "exec/communication/communicator.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace runflat::exec {

/// Reduces arrays of `num` elements, one of every rank, and writes the result over each of `out`,
/// which may be the same arrays. Every element is reduced on its own, in the order of the ranks;
/// bf16 is summed in fp32 and rounded once; the maximum with a NaN is NaN. So the bits do not
/// depend on how the data are cut into parts.
void reduce(std::span<const std::byte* const> in,
            std::span<std::byte* const> out,
            std::int64_t num,
            DataType type,
            ReduceOp op);

}  // namespace runflat::exec
