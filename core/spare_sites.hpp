#pragma once

#include "core/cluster.hpp"
#include "core/plan.hpp"

namespace runflat {

/// `whole` with TP groups that have lost GPUs on GPUs of its spare domains, as many as these have
/// that are up; healthy GPUs of a group that moves play no rank. Replicas with the fewest damaged
/// groups come first, so that as many as can be are whole. Unless `only_whole_replicas`, spares
/// that do not suffice for all groups of a replica take its smallest ones, where that leaves it
/// with a larger smallest group. No other group moves. Groups that `current` has on spare GPUs stay
/// on them where they can, if it has all replicas. Spare domains that are in use, or have a GPU
/// down, are none of the new plan.
[[nodiscard]] Plan moved_to_spares(const Plan& whole,
                                   const Plan& current,
                                   const Health& health,
                                   bool only_whole_replicas);

/// GPUs of a group that are up.
[[nodiscard]] std::int64_t num_up(const Cell& cell, const Health& health);
/// Whether all of them are.
[[nodiscard]] bool is_whole(const Cell& cell, const Health& health);

}  // namespace runflat
