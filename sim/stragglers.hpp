#pragma once

#include "sim/fault_timeline.hpp"
#include "sim/site_pool.hpp"

#include <cstdint>
#include <vector>

namespace runflat::sim {

/// The parts of a step that stragglers stretch.
struct StepShares {
  double compute = 1.0;
  double network = 1.0;
};

/// Components that are slow at one moment.
class Stragglers {
 public:
  Stragglers(const ClusterShape& shape, const StepShares& shares)
      : shape_(shape), shares_(shares) {}

  /// Returns the number by which end() knows it.
  std::int32_t begin(const Slowdown& slowdown);
  void end(std::int32_t number);

  /// Speed of a job that waits for the slowest of the pool's active GPUs, over its speed without
  /// stragglers. A component at speed s, the product of all that overlap it, stretches its share of
  /// a step: the step takes 1 - share + share / s.
  [[nodiscard]] double pace(const SitePool& pool) const;

 private:
  struct Slow {
    std::int32_t number = 0;
    Resource resource = Resource::compute;
    double speed = 1.0;
    ComponentRange gpus;
  };

  ClusterShape shape_;
  StepShares shares_;
  std::vector<Slow> slow_;
  std::int32_t next_number_ = 0;
};

}  // namespace runflat::sim
