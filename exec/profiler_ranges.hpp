#pragma once

#include "core/schedule.hpp"
#include "exec/commit.hpp"

#include <cstdint>
#include <span>

namespace runflat::exec {

/// Ranges that follow each other on the calling thread's row of a profiler (NVTX). Costs next to
/// nothing without a profiler, and nothing in a build without CUDA.
class ProfilerRanges {
 public:
  /// Ends the open range, and opens one with this name.
  void next(const char* name);
  void end();

 private:
  bool is_open_ = false;
};

/// The name of what begins at a moment of a step; `index` is the moment's.
[[nodiscard]] const char* name_at(StepMoment moment,
                                  std::span<const ScheduleOp> ops,
                                  std::int64_t index);

}  // namespace runflat::exec
