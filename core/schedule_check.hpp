#pragma once

#include "core/schedule.hpp"

#include <optional>
#include <span>
#include <string>

namespace runflat {

/// Why a schedule cannot run, in one sentence that names the stage and the op.
struct ScheduleFault {
  std::string reason;
};

/// Runs the schedule's messages over channels between stages, one FIFO per (sender, receiver) that
/// holds `channel_capacity` messages: with 0 a send ends only when its receive is posted. Nothing
/// is returned if the schedule
///  * runs every (microbatch, virtual stage) forward and then backward, once,
///  * receives each input before its use and sends each result after it was made, once, and every
///    receive meets the send of the same tensor,
///  * reaches its end on all stages, and
///  * reduces every bucket once, after the last backward of its virtual stage and before the one
///    optimizer step, with the same number of buckets everywhere.
[[nodiscard]] std::optional<ScheduleFault> check_schedule(const StepSchedule& schedule,
                                                          int channel_capacity = 0);

/// Replicas that reduce with each other must do so in the same order: their schedules may differ in
/// the number of microbatches, but every stage must have the same list of `reduce` and `gather`
/// ops.
[[nodiscard]] std::optional<ScheduleFault> check_collective_order(
    std::span<const StepSchedule> replicas);

}  // namespace runflat
