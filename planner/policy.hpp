#pragma once

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
};
inline constexpr std::array kAllPolicies = {PolicyKind::restart,
                                            PolicyKind::spare_domain,
                                            PolicyKind::dp_drop,
                                            PolicyKind::uniform_tp,
                                            PolicyKind::ntp,
                                            PolicyKind::ntp_pw};

[[nodiscard]] std::string_view to_string(PolicyKind policy);

/// A replica at one TP degree under a policy.
struct DegreeRate {
  std::int64_t num_microbatches = 0;      ///< 0: cannot run at this degree
  double share = 0.0;                     ///< of the healthy replica's batch
  double power = 1.0;                     ///< multiple of the nominal power
  std::int64_t num_recompute_layers = 0;  ///< of each stage, to fit into memory
  std::string obstacle{};                 ///< why it has no batch, or not the whole one
};

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

  [[nodiscard]] std::int64_t num_job_sites() const { return sites_per_replica * num_replicas; }
};

/// The best operation of a policy on a census. Damaged sites are packed, worst first, into the
/// fewest replicas; a replica runs at the degree, up to that of its worst site, that serves the job
/// best, or not at all where it would slow the others by more than it adds. One more lost GPU never
/// raises the throughput.
[[nodiscard]] sim::Operation plan_operation(PolicyKind policy,
                                            const PolicyRates& rates,
                                            const sim::SiteCensus& census);

/// Spare sites with which the job would run its full batch, given the census of a job that has
/// none: a site for each damaged one, or whole replicas' worth for the batch that reduced replicas
/// miss, whichever is less.
[[nodiscard]] std::int64_t spares_needed(PolicyKind policy,
                                         const PolicyRates& rates,
                                         const sim::SiteCensus& census);

}  // namespace runflat::planner
