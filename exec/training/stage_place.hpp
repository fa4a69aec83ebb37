#pragma once

#include "core/id.hpp"
#include "core/plan.hpp"
#include "exec/training/stage_state.hpp"
#include "exec/training/trainer_config.hpp"

#include <cstdint>

namespace runflat::exec {

/// What any rank of a plan holds of a virtual stage, known to all ranks without a message.
[[nodiscard]] StagePlace stage_place(const Plan& plan,
                                     const TrainerConfig& config,
                                     Rank rank,
                                     std::int64_t vp_stage);

}  // namespace runflat::exec
