#pragma once

#include "core/cluster.hpp"
#include "core/layout.hpp"
#include "core/model.hpp"
#include "core/reader.hpp"
#include "core/training.hpp"
#include "core/value.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace runflat {

/// What one DP replica does in a step.
struct ReplicaShare {
  std::int64_t num_microbatches = 0;
  double power = 1.0;  ///< of every GPU of the replica, as a multiple of its nominal power
  /// Layers of each stage computed again in the backward pass, beyond what `training` says.
  std::int64_t num_recompute_layers = 0;

  friend bool operator==(const ReplicaShare&, const ReplicaShare&) = default;
};

/// Everything about how a job runs at one moment: which GPU plays which rank, the TP degree and the
/// batch share of every replica, the power setting. The planner writes it, the simulator prices it,
/// the executor runs it.
struct Plan {
  std::string policy;                ///< who decided
  std::vector<std::string> reasons;  ///< one sentence each, for a person
  ClusterSpec cluster;
  ModelSpec model;
  ParallelLayout layout = ParallelLayout::uniform({});
  TrainingSpec training;                ///< global_batch_size is that of the undamaged job
  std::vector<ReplicaShare> replicas;   ///< by dp rank
  std::vector<GpuId> failed;            ///< down when the plan was made, ascending
  std::vector<DomainId> spare_domains;  ///< healthy reserve, ascending

  /// Sequences of one step over all replicas.
  [[nodiscard]] std::int64_t global_batch_size() const;

  friend bool operator==(const Plan&, const Plan&) = default;
};

/// The GPUs of a job: those of its ranks, by rank, then those of its spare domains that have not
/// failed.
[[nodiscard]] std::vector<GpuId> gpus_of(const Plan& plan);

/// Version of the JSON form.
inline constexpr std::int64_t kPlanSchema = 1;

/// `read_plan(to_value(plan))` is `plan`. Unknown keys, another schema, and a plan that contradicts
/// itself (a GPU outside the cluster or playing two ranks, a failed GPU or a spare domain in
/// use, a TP group across domains, shares that do not match dp) are ParseErrors.
[[nodiscard]] Value to_value(const Plan& plan);
[[nodiscard]] Plan read_plan(const Reader& in);

}  // namespace runflat
