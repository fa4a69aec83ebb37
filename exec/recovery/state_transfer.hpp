#pragma once

#include "core/error.hpp"
#include "core/id.hpp"
#include "core/plan.hpp"
#include "exec/communication/communicator.hpp"
#include "exec/device/device.hpp"
#include "exec/training/param_layout.hpp"
#include "exec/training/stage_state.hpp"
#include "exec/training/trainer_config.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace runflat::exec {

/// Where a rank keeps the optimizer state of some elements of a parameter: at an element of one of
/// its own slices, or of a copy that it keeps of a peer's.
struct StatePlace {
  std::size_t vp_stage = 0;
  std::size_t bucket = 0;
  bool is_copy = false;
  std::int64_t sync_offset = 0;  ///< in the bucket's sync area
};
struct HeldState {
  std::string param;  ///< the source_name: the tied copy of the embedding is the embedding
  ElementRange elements;
  StatePlace place;
};

/// All optimizer state that a rank of a plan keeps.
[[nodiscard]] std::vector<HeldState> held_state(const Plan& plan,
                                                const TrainerConfig& config,
                                                Rank rank);

/// Optimizer state of `num` elements goes from a GPU that played a rank in the old plan to one of
/// the next, which may be the same one.
struct StateTransfer {
  GpuId from;
  GpuId to;
  StatePlace source;
  StatePlace target;
  std::int64_t num = 0;
};

/// Everything that must move so that each rank of `next` keeps the state that is its: masters and
/// moments. Parameters are not moved: they are made from the masters. A rank takes what it can from
/// itself, then from its old TP group, its NVLink domain, and other replicas in turn; from a copy
/// where the owner is gone. All processes find the same list, ordered by receiver.
///
/// `survivors`, ascending, hold the state of the old plan. Infeasible, with the parameter, when
/// none of them holds what a rank needs.
[[nodiscard]] Expected<std::vector<StateTransfer>, Infeasible> state_transfers(
    const Plan& old,
    const Plan& next,
    const TrainerConfig& config,
    const std::vector<GpuId>& survivors);

/// The buffers of a trainer, by virtual stage; nullptr where the process has no rank.
using StageStates = std::vector<std::unique_ptr<StageState>>;

/// Carries out this process's part of the transfers, in one exchange of the group of `members`
/// (processes, in their order), nullptr where it is alone. Returns when it is over.
[[nodiscard]] SyncStatus move_state(Device& device,
                                    Communicator* group,
                                    const std::vector<std::int64_t>& members,
                                    std::int64_t process,
                                    const std::vector<StateTransfer>& transfers,
                                    StageStates* from,
                                    StageStates* to);

}  // namespace runflat::exec
