#pragma once

#include <chrono>

namespace runflat::exec {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;

[[nodiscard]] inline Deadline deadline_in(std::chrono::milliseconds time) {
  return Clock::now() + time;
}

}  // namespace runflat::exec
