#pragma once

#include "sim/fault_timeline.hpp"
#include "sim/site_pool.hpp"

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

  void begin(const Slowdown& slowdown);
  void end(const Slowdown& slowdown);

  /// Speed of a job that waits for the slowest of the pool's active GPUs, over its speed without
  /// stragglers. A component at speed s, the product of all that overlap it, stretches its share of
  /// a step: the step takes 1 - share + share / s.
  [[nodiscard]] double pace(const SitePool& pool) const;

 private:
  struct Slow {
    const Slowdown* slowdown = nullptr;
    ComponentRange gpus;
  };

  ClusterShape shape_;
  StepShares shares_;
  std::vector<Slow> slow_;
};

}  // namespace runflat::sim
