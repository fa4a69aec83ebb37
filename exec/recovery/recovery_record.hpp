#pragma once

#include "core/id.hpp"
#include "core/timeline.hpp"
#include "core/units.hpp"
#include "core/value.hpp"
#include "exec/communication/communicator.hpp"
#include "exec/recovery/agreement.hpp"
#include "exec/store/store.hpp"
#include "exec/training/commit.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace runflat::exec {

/// What a transition was on one worker. Seconds count from `noticed`.
struct RecoveryRecord {
  std::int64_t generation = 0;
  Rung rung = Rung::in_place;
  std::string reason;
  /// exit: a worker had ended; hang: one had given no sign of life, or did not come; join: one
  /// came; peer_lost: none of these, communication had failed.
  std::string cause{};
  std::string detail{};      ///< how the first that was lost had ended, where somebody knows
  double waited = 0.0;       ///< for somebody to join, before it was noticed that one had
  std::int64_t at_step = 0;  ///< steps that were taken
  std::vector<std::int64_t> members;
  /// From the end of the first that was lost to its first sign here; negative where communication
  /// failed before whoever watches the lost one knew.
  std::optional<double> detected{};
  double quiesced = 0.0;         ///< from the first sign until all communication had ended
  Clock::time_point noticed{};   ///< that it had to meet the others
  double agreed = 0.0;           ///< all had met
  double connected = 0.0;        ///< communicators and memory were there
  double moved = 0.0;            ///< the state was
  double carried_out = 0.0;      ///< and parameters, on all workers
  std::int64_t bytes_moved = 0;  ///< to all workers from others
  StepDecision decision{};       ///< of the last step that was taken, where somebody has it
  bool was_completed = false;    ///< this worker took the update of a torn step
};

/// What the transition from `base` to `next` is for, and when and how the first of the trainers
/// that are no longer there ended.
void explain(Store& store, const Agreement& base, const Agreement& next, RecoveryRecord& record);

/// From the end of what was lost, as far as it is known, or from when the job no longer waited,
/// until all were ready to train again.
[[nodiscard]] double seconds_of(const RecoveryRecord& record);
/// As the JSON log has it: spans in ms, null where one is not known; `ready_at`, when all were
/// ready to train again, in seconds of Unix time.
[[nodiscard]] Value to_value(const RecoveryRecord& record,
                             std::int64_t num_ranks,
                             std::optional<Seconds> redo);

/// Adds its spans to a timeline on which it was noticed at `noticed`.
void add_spans(const RecoveryRecord& record, Rank rank, Seconds noticed, Timeline& timeline);

}  // namespace runflat::exec
