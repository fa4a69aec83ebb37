#pragma once

#include "exec/communication/communicator.hpp"
#include "exec/communication/transport.hpp"

#include <cstdint>
#include <functional>
#include <vector>

namespace runflat::exec {

/// What a rank that runs in a thread has.
struct ThreadRank {
  Transport& transport;
  Communicator& world;  ///< all of them
  /// Ends this life of the process: it is lost to the others in all its groups, at once. Its
  /// communicators are gone by then.
  std::function<void()> end_life;
  /// A new process takes its number; its groups are made by `transport`.
  std::function<void()> begin_life;
};

/// A rank that throws it dies, and spawn() does not rethrow it.
struct RankDeath {};

/// Runs `run` once for every rank of a new world, each in a thread of its own with memory shared:
/// collectives without a cluster. A rank whose `run` has returned or thrown is lost to the others
/// in all its groups, at once. When all have ended, rethrows what was thrown first, and PeerLost
/// only where that is all that was thrown.
void spawn(std::int64_t world_size, const std::function<void(ThreadRank&)>& run);
/// The same for processes with these numbers, whose world has them in this order.
void spawn(const std::vector<std::int64_t>& processes, const std::function<void(ThreadRank&)>& run);

}  // namespace runflat::exec
