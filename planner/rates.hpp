#pragma once

#include "core/error.hpp"
#include "core/units.hpp"
#include "planner/policy.hpp"

#include <cstdint>
#include <functional>

namespace runflat::planner {

/// One replica's step as the cost model is asked for it.
struct ReplicaQuery {
  std::int64_t tp_size = 1;
  std::int64_t sync_degree = 1;  ///< at most tp_size; smaller where it must reshard for a peer
  std::int64_t num_microbatches = 1;
  double power = 1.0;
  std::int64_t num_stages = 0;   ///< of its pipeline; 0: as many as the job's
  std::int64_t num_virtual = 0;  ///< chunks of a stage; 0: as many as the job's
};

/// One replica's step, and how many layers of each stage it computes again in the backward pass,
/// beyond what the job's settings say, so that it fits into memory.
struct ReplicaStep {
  ReplicaStep(Seconds step_time, std::int64_t recompute_layers = 0)
      : time(step_time), num_recompute_layers(recompute_layers) {}

  Seconds time;
  std::int64_t num_recompute_layers;
};

/// Infeasible where the replica cannot run (units, memory, schedule).
using ReplicaTime = std::function<Expected<ReplicaStep, Infeasible>(const ReplicaQuery&)>;

/// What an NVLink domain's rack allows a reduced TP group to draw.
struct PowerLimits {
  double max_boost = 1.3;      ///< most power of one GPU over its nominal power
  double rack_headroom = 1.0;  ///< power of the rack over the nominal power of all its GPUs
  std::int64_t rack_gpus = 8;

  /// Most power for the `tp_size` ranks that are left of `tp`, all others in the rack at nominal.
  [[nodiscard]] double boost(std::int64_t tp, std::int64_t tp_size) const;
};

/// The healthy job that rates are worked out for.
struct HealthyJob {
  std::int64_t tp = 1;
  std::int64_t sites_per_replica = 1;
  std::int64_t num_replicas = 1;
  std::int64_t num_microbatches = 1;
};

/// Whether every replica may run at `degree` without NTP: Megatron needs heads, groups, FFN columns
/// and vocabulary divisible by it.
using UniformRule = std::function<bool(std::int64_t degree)>;

/// The batch of a reduced replica is the largest whose step is no longer than that of a healthy
/// replica that reshards for it; `ntp_pw` first looks for the least power that keeps the whole
/// batch. Infeasible when the healthy job itself cannot run.
[[nodiscard]] Expected<PolicyRates, Infeasible> compute_rates(PolicyKind policy,
                                                              const HealthyJob& job,
                                                              const PowerLimits& power,
                                                              const UniformRule& uniform_rule,
                                                              const ReplicaTime& replica_time);

}  // namespace runflat::planner
