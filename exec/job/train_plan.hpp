#pragma once

#include "core/plan.hpp"
#include "core/reader.hpp"

#include <cstdint>
#include <vector>

namespace runflat::exec {

/// The plan of a configuration for training: the file that `plan` names, or one made of `[model]`,
/// `[layout]`, the batch sizes of `[training]` and, where it is there, `[cluster]` (else every
/// nominal TP group has a node and NVLink domain of its own).
///
/// `[layout]` is core's, with `non_active_ranks_per_dp`: the slots that do not run, by "dp" or
/// "dp,cp,pp", and `spare_domains`, how many NVLink domains stand by: the first of the cluster that
/// have no rank. `training.num_microbatches` gives the share of every replica; without it, the
/// shares are those of proportional_microbatches(). ParseError where these contradict one another.
[[nodiscard]] Plan read_train_plan(ObjectReader& job, ObjectReader& training);

/// Deals `num_microbatches` to the replicas in proportion to their speed, that of their smallest TP
/// group: whole shares first, then one each to the largest remainders, the first replica in a tie.
[[nodiscard]] std::vector<std::int64_t> proportional_microbatches(const ParallelLayout& layout,
                                                                  std::int64_t num_microbatches);

}  // namespace runflat::exec
