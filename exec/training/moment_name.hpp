#pragma once

#include "core/schedule.hpp"
#include "exec/training/commit.hpp"

#include <cstdint>
#include <span>

namespace runflat::exec {

/// The name of what begins at a moment of a step; `index` is the moment's.
[[nodiscard]] const char* name_at(StepMoment moment,
                                  std::span<const ScheduleOp> ops,
                                  std::int64_t index);

}  // namespace runflat::exec
