#pragma once

#include "core/error.hpp"
#include "core/id.hpp"
#include "core/plan.hpp"
#include "core/shard_map.hpp"
#include "core/state_slice.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace runflat {

/// `units` of every parameter of one slice go from one GPU to another, once for every layer (and
/// every expert) that `from` held under the old plan and `to` holds under the next one.
struct UnitMove {
  GpuId from;
  GpuId to;
  std::size_t slice = 0;  ///< of state_slices(model)
  UnitRange units;
  std::int64_t num_instances = 0;  ///< layers, times experts

  friend bool operator==(const UnitMove&, const UnitMove&) = default;
};

/// Everything that must move so that each rank of `next` holds its units at its compute map: layers
/// as stages_of_layers, the embedding on the first stage, the head on the last one. A rank keeps
/// what it holds already. What it lacks it gets from survivors (GPUs that played a rank in `old`
/// and have not failed in `next`), in this order: its own old TP group, other groups of its
/// NVLink domain, and, over the network, replicas in turn. Ordered by receiver.
///
/// Infeasible, with the parameter and the stage, when no survivor holds a unit, or a plan divides a
/// parameter in an impossible way. Both plans must have the same model and domain size.
[[nodiscard]] Expected<std::vector<UnitMove>, Infeasible> unit_moves(const Plan& old,
                                                                     const Plan& next);

}  // namespace runflat
