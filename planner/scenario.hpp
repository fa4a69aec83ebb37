#pragma once

#include "core/cluster.hpp"
#include "core/error.hpp"
#include "core/layout.hpp"
#include "core/model.hpp"
#include "core/reader.hpp"
#include "core/training.hpp"
#include "core/units.hpp"
#include "planner/policy.hpp"
#include "planner/recovery_spec.hpp"
#include "sim/failure_model.hpp"
#include "sim/site_pool.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace runflat::planner {

struct PowerSpec {
  double max_boost = 1.3;
  double rack_headroom = 1.0;
};

/// What a replica at a smaller TP degree can do, known from elsewhere than the cost model.
struct ReducedReplica {
  std::int64_t tp = 1;
  std::int64_t num_microbatches = 1;  ///< at nominal power
  std::optional<double> power;        ///< with which it keeps the whole batch
};

/// A question to the planner: hardware, job, failures, and what is to be done about them.
struct Scenario {
  std::string name;
  std::string description;
  ClusterSpec cluster;
  std::string software_release;  ///< of the hardware parameters; empty: the GPU's default
  ModelSpec model;
  ParallelSizes layout;
  TrainingSpec training;
  Days duration{};
  sim::FailureModel failures;
  CheckpointSpec checkpoint;
  RecoverySpec recovery;
  PowerSpec power;
  std::vector<ReducedReplica> reduced_replicas;  ///< if any, the only degrees that NTP may use
  std::array<std::int64_t, kAllPolicies.size()> spare_domains{};  ///< by policy, beside the cluster
  double usd_per_gpu_hour = 0.0;

  [[nodiscard]] std::int64_t sites_per_domain() const { return cluster.domain_size / layout.tp; }
  [[nodiscard]] std::int64_t num_job_sites() const { return layout.cp * layout.pp * layout.dp; }
  [[nodiscard]] std::int64_t num_microbatches() const {
    return training.global_batch_size / (training.micro_batch_size * layout.dp);
  }
  [[nodiscard]] std::int64_t spares_of(PolicyKind policy) const {
    return spare_domains[static_cast<std::size_t>(policy)];
  }
  [[nodiscard]] std::int64_t most_spares() const;
  /// The cluster with a policy's spare domains: in whole nodes, so that there may
  /// be a domain more than asked for.
  [[nodiscard]] sim::ClusterShape shape_with_spares(std::int64_t num_spare_domains) const;
  /// The TP sites of the job on the cluster with the policy's spare domains.
  [[nodiscard]] sim::SiteShape site_shape(PolicyKind policy) const;
};

/// Reads `schema = 1` and the tables cluster, model, layout, training, failures, checkpoint,
/// recovery, power, reduced_replica, policies.<policy>.spare_domains. ParseError for anything wrong
/// by itself or against another key: a TP group larger than the NVLink domain, more GPUs than the
/// cluster has, a batch that the replicas cannot share evenly, heads or layers that do not divide.
[[nodiscard]] Scenario read_scenario(const Reader& in);

}  // namespace runflat::planner
