#pragma once

#include "core/plan.hpp"
#include "exec/data/sample_source.hpp"
#include "exec/training/trainer_config.hpp"

#include <cstdint>
#include <map>
#include <vector>

namespace runflat::exec {

/// What a job trains under once it has taken so many steps.
struct PlanSpan {
  std::int64_t steps = 0;
  Plan plan;

  friend bool operator==(const PlanSpan&, const PlanSpan&) = default;
};

/// Adds what comes next: it replaces those under which no step remains, as it begins no later, and
/// is not added where it goes on with the same plan.
void append_span(std::vector<PlanSpan>& spans, const PlanSpan& next);

/// The losses by step, from 1, of a job on threads in which GPUs leave and come back by plan alone:
/// nothing fails and nothing is redone. `spans` ascend from step 0. Between two of them each GPU of
/// the next one gets its state from those of the one before.
[[nodiscard]] std::map<std::int64_t, double> run_planned_job(const std::vector<PlanSpan>& spans,
                                                             const TrainerConfig& config,
                                                             std::int64_t num_steps,
                                                             const SampleSource& data);

}  // namespace runflat::exec
