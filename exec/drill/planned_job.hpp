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
/// All of a job, ascending from step 0.
using PlanSpans = std::vector<PlanSpan>;

/// Adds what comes next: it replaces those under which no step remains, as it begins no later, and
/// is not added where it goes on with the same plan.
void append_span(PlanSpans& spans, const PlanSpan& next);

/// By step, from 1.
using Losses = std::map<std::int64_t, double>;

/// The losses of jobs on threads in which GPUs leave and come back by plan alone: nothing fails and
/// nothing is redone. Between two spans each GPU of the next one gets its state from those of the
/// one before. What jobs have in common from their beginning on is trained once.
[[nodiscard]] std::vector<Losses> run_planned_jobs(const std::vector<PlanSpans>& jobs,
                                                   const TrainerConfig& config,
                                                   std::int64_t num_steps,
                                                   const SampleSource& data);

}  // namespace runflat::exec
