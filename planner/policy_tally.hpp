#pragma once

#include "planner/what_if.hpp"
#include "sim/job_life.hpp"

#include <array>
#include <cstdint>
#include <vector>

namespace runflat::planner {

/// Sums up the trials of one policy: what a campaign keeps of a trial is three numbers, whatever
/// the length of the run. Trials are added in their order, so that sums have the same bytes.
class PolicyTally {
 public:
  explicit PolicyTally(std::int64_t sites_per_domain) : sites_per_domain_(sites_per_domain) {}

  /// Every outcome must have the same number of buckets.
  void add(const sim::JobOutcome& outcome);

  [[nodiscard]] const std::vector<double>& goodputs() const { return goodputs_; }  ///< by trial
  /// Fills in what follows from the trials, of which there must be one at least.
  void summarise(PolicyResult& result) const;

 private:
  /// Adds the time with each number of needed spare domains; returns the largest number.
  std::int64_t add_spares_needed(const sim::JobOutcome& outcome);
  [[nodiscard]] std::vector<double> full_batch_share() const;

  std::int64_t sites_per_domain_;
  std::vector<double> goodputs_;
  std::vector<double> availabilities_;
  std::vector<double> peak_spares_;
  std::array<double, sim::kNumCauses> gpu_hours_{};
  double owned_gpu_hours_ = 0.0;
  std::int64_t num_interruptions_ = 0;
  std::int64_t num_rejoins_ = 0;
  std::vector<double> goodput_by_bucket_;
  std::vector<std::int64_t> time_by_domains_;  ///< index: spare domains needed
};

}  // namespace runflat::planner
