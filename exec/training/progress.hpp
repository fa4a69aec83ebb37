#pragma once

#include <cstdint>

namespace runflat::exec {

/// How far a job is. A step is taken whole or not at all.
struct Progress {
  std::int64_t steps = 0;
  std::int64_t consumed_samples = 0;

  friend bool operator==(const Progress&, const Progress&) = default;
};

}  // namespace runflat::exec
