#pragma once

#include "core/plan.hpp"
#include "core/replan.hpp"
#include "exec/recovery/agreement.hpp"
#include "exec/training/trainer_config.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace runflat::exec {

/// How long each rung of the recovery ladder may take before the next one is tried. On a host there
/// are two: to go on in place, and to start again from the last checkpoint; after them the job
/// stops, with a reason. Where the replanner finds no plan, the job waits for workers to join
/// before it stops.
struct RecoveryPolicy {
  /// Every attempt in place is with those that survived the one before.
  std::int64_t most_attempts = 8;
  std::chrono::milliseconds in_place_deadline{60'000};  ///< from when the failure was noticed
  std::int64_t most_checkpoint_attempts = 3;
  std::chrono::milliseconds wait_for_spare{0};
  bool may_restart = false;  ///< from a checkpoint, which the worker can load
};

/// What whoever decides knows.
struct Situation {
  std::int64_t generation = 0;
  std::vector<Standing> standings;    ///< of those who came, by process
  std::optional<Agreement> previous;  ///< the last, whether or not it was carried out
  bool has_begun = false;             ///< somebody has trained
  std::int64_t num_steps = 0;         ///< of the whole job
};

/// Climbs the ladder: what all do next. `agreement_of` gives past agreements, `whole` is the plan
/// of the undamaged job.
[[nodiscard]] Agreement decide_recovery(
    const Situation& situation,
    const RecoveryPolicy& policy,
    const TrainerConfig& config,
    const Plan& whole,
    const Replanner& replan,
    const std::function<Agreement(std::int64_t generation)>& agreement_of);

}  // namespace runflat::exec
