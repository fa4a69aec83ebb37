#pragma once

#include "core/error.hpp"
#include "core/plan.hpp"
#include "core/timeline.hpp"
#include "core/value.hpp"
#include "sim/hardware.hpp"
#include "sim/step_cost.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace runflat::sim {

/// Replicas of a plan that take the same step, and what it costs them.
struct ReplicaClass {
  std::int64_t num_replicas = 0;
  StepQuery query;
  StepCost cost;
  bool fits = true;  ///< into the GPU's memory
};

/// A plan's step: every replica waits for the slowest.
struct PlanStep {
  std::string gpu;
  std::string release;
  std::int64_t num_gpus = 0;  ///< that run
  std::int64_t sequences = 0;
  std::int64_t seq_length = 0;
  Seconds step_time{};       ///< by the closed form
  Seconds simulated_time{};  ///< by the step simulator, one replica of each class side by side
  FlopsPerSecond model_flops_rate;  ///< per running GPU
  double mfu = 0.0;
  std::vector<ReplicaClass> replicas;  ///< in order of first appearance
};

/// The query that a replica of a plan amounts to. Its TP degree is that of its smallest TP group,
/// which sets the pace.
[[nodiscard]] StepQuery replica_query(const Plan& plan, DpRank replica);

/// Prices a plan on its cluster's GPUs under a software release (empty: the default one). The
/// timeline, where given, receives the simulated step of one replica of each class, rank = class *
/// pp + stage. Infeasible where a replica cannot run at all; memory is reported, not refused.
[[nodiscard]] Expected<PlanStep, Infeasible> price_plan(const Plan& plan,
                                                        std::string_view release = "",
                                                        Timeline* timeline = nullptr);
/// The same on other parameters than those of a shipped file.
[[nodiscard]] Expected<PlanStep, Infeasible> price_plan(const Plan& plan,
                                                        const HardwareParameters& on,
                                                        Timeline* timeline = nullptr);

/// The step as the document that `runflat step --json` writes.
[[nodiscard]] Value to_value(const PlanStep& step);

}  // namespace runflat::sim
