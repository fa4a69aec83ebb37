#pragma once

#include "core/units.hpp"
#include "sim/interruptions.hpp"
#include "sim/operation.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace runflat::planner {

/// What a job does when hardware fails.
enum class PolicyKind : std::uint8_t {
  restart,       ///< requeue on healthy hardware, from the last checkpoint
  spare_domain,  ///< a spare domain takes the place of a damaged one, state from its DP peers
  dp_drop,       ///< replicas that contain damage are left out
  uniform_tp,    ///< restart at the best layout with one TP degree for all
  ntp,           ///< damaged replicas run at a smaller TP degree and a smaller batch
  ntp_pw,        ///< as ntp, with a power boost that keeps the batch where the rack allows it
  recycle,       ///< microbatches of lost TP groups go to the same stage of other replicas
  oobleck,       ///< healthy TP groups form pipelines of unequal length
  train_mover,   ///< a standby that is already warm takes the place of a damaged domain
  adaptive,      ///< at each event the best of the others up to the next one
};
inline constexpr std::array kAllPolicies = {PolicyKind::restart,
                                            PolicyKind::spare_domain,
                                            PolicyKind::dp_drop,
                                            PolicyKind::uniform_tp,
                                            PolicyKind::ntp,
                                            PolicyKind::ntp_pw,
                                            PolicyKind::recycle,
                                            PolicyKind::oobleck,
                                            PolicyKind::train_mover,
                                            PolicyKind::adaptive};

[[nodiscard]] std::string_view to_string(PolicyKind policy);

/// A replica at one TP degree under a policy.
struct DegreeRate {
  std::int64_t num_microbatches = 0;      ///< 0: cannot run at this degree
  double share = 0.0;                     ///< of the healthy replica's batch
  double power = 1.0;                     ///< multiple of the nominal power
  std::int64_t num_recompute_layers = 0;  ///< of each stage, to fit into memory
  std::string obstacle{};                 ///< why it has no batch, or not the whole one
};

/// The pipelines of a job.
struct PipelineRates {
  std::int64_t num_stages = 1;        ///< of a healthy pipeline
  std::int64_t num_microbatches = 1;  ///< of a healthy replica
  double bubble = 0.0;                ///< of a healthy pipeline, in microbatches
  /// Share of a healthy pipeline's batch that one of this many stages finishes in the same time; a
  /// longer one never less than a shorter one. Empty: healthy pipelines alone can run.
  std::vector<double> shares{};

  [[nodiscard]] double share_of(std::int64_t length) const {
    if (length >= num_stages) {
      return 1.0;
    }
    return shares.empty() ? 0.0 : shares[static_cast<std::size_t>(length)];
  }
};

struct Alternative;

/// What a policy needs to know about speed, worked out once per scenario. Vectors are indexed by TP
/// degree, 0 to tp.
struct PolicyRates {
  std::int32_t tp = 1;
  std::int64_t sites_per_replica = 1;  ///< cp * pp
  std::int64_t num_replicas = 1;
  std::vector<DegreeRate> reduced{};  ///< a reduced replica beside healthy ones
  std::vector<double> uniform{};      ///< throughput of the whole job at this degree; 0: illegal
  std::vector<double> healthy_slowdown{};  ///< step time of the job, over the healthy job's, when
                                           ///< the smallest degree in use is this one
  bool fixed_batch = false;  ///< the job waits rather than train on less than its whole batch
  PipelineRates pipeline{};
  sim::Interruptions interruptions{};       ///< none: the fastest operation is the best
  std::vector<Alternative> alternatives{};  ///< of adaptive

  [[nodiscard]] std::int64_t num_job_sites() const { return sites_per_replica * num_replicas; }
};

/// A policy that adaptive may follow.
struct Alternative {
  PolicyKind policy = PolicyKind::restart;
  PolicyRates rates{};
};

/// The best operation of a policy on a census, as planner/policy_family.hpp describes it for each.
/// One more lost GPU never raises the throughput (of those that weigh interruptions, ntp, ntp_pw,
/// recycle and adaptive: the throughput in the time that they leave).
[[nodiscard]] sim::Operation plan_operation(PolicyKind policy,
                                            const PolicyRates& rates,
                                            const sim::SiteCensus& census);

/// Spare sites with which the job would run its full batch, given the census of a job that has
/// none: a site for each damaged one; with reduced replicas whole replicas' worth for the batch
/// that they miss, if that is less; for recycle those that pipeline bubbles cannot replace.
[[nodiscard]] std::int64_t spares_needed(PolicyKind policy,
                                         const PolicyRates& rates,
                                         const sim::SiteCensus& census);

}  // namespace runflat::planner
