#pragma once

#include "planner/policy.hpp"
#include "sim/job_life.hpp"

#include <algorithm>

namespace runflat::planner {

/// Every change takes `pause`, detection no time, and there are no checkpoints.
[[nodiscard]] inline sim::JobSpec job_under(PolicyKind policy,
                                            const PolicyRates& rates,
                                            const sim::SiteShape& shape,
                                            sim::SimTime pause) {
  sim::JobSpec job{.sites = shape, .step_time = sim::SimTime{1}};
  job.replan = [policy, rates](const sim::SiteCensus& census) {
    return plan_operation(policy, rates, census);
  };
  job.spares_needed = [policy, rates](const sim::SiteCensus& census) {
    return spares_needed(policy, rates, census);
  };
  for (sim::ChangeCost& cost : job.change_costs) {
    cost.pause = pause;
  }
  return job;
}

}  // namespace runflat::planner
