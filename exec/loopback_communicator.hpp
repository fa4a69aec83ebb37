#pragma once

#include "exec/communicator.hpp"

#include <cstdint>
#include <functional>

namespace runflat::exec {

/// Runs `run` once for every rank of a new group, each in a thread of its own with memory shared:
/// collectives without a cluster. A rank whose `run` has returned or thrown is lost to the others.
/// When all have ended, rethrows what was thrown first.
void spawn(std::int64_t world_size, const std::function<void(Communicator&)>& run);

}  // namespace runflat::exec
