#pragma once

#include "core/error.hpp"
#include "core/units.hpp"
#include "core/value.hpp"
#include "planner/confidence.hpp"
#include "planner/policy.hpp"
#include "planner/scenario.hpp"
#include "sim/job_life.hpp"
#include "sim/trace.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace runflat::planner {

struct WhatIfRequest {
  Scenario scenario;
  std::vector<PolicyKind> policies = {kAllPolicies.begin(), kAllPolicies.end()};
  std::int64_t num_trials = 100;
  /// Adds trials until the interval of every policy's goodput, and of the difference between any
  /// two, is narrow enough; `num_trials` is then the least number.
  std::optional<StopRule> stop;
  std::uint64_t seed = 1;
  std::int64_t num_threads = 0;  ///< 0: as many as the machine has; never changes the result
  /// Replayed instead of the scenario's failures: one trial, for as long as both last.
  std::optional<sim::FaultTrace> trace;
  bool with_loss_curves = true;  ///< else failed_fractions and what belongs to them stay empty
  /// Called now and then from one thread at a time with the number of finished trials; `total`
  /// grows where a stop rule adds some.
  std::function<void(std::int64_t done, std::int64_t total)> progress;
};

/// Over the trials; quantiles interpolate linearly between order statistics.
struct Summary {
  double mean = 0.0;
  double p5 = 0.0;
  double p50 = 0.0;
  double p95 = 0.0;

  [[nodiscard]] static Summary of(std::vector<double> values);
  friend bool operator==(const Summary&, const Summary&) = default;
};

struct PolicyResult {
  PolicyKind policy = PolicyKind::restart;
  Summary goodput;
  MeanInterval goodput_interval;
  Summary availability;
  std::array<double, sim::kNumCauses> gpu_hours{};  ///< by cause, mean over the trials
  double owned_gpu_hours = 0.0;
  double num_interruptions = 0.0;  ///< mean
  double num_rejoins = 0.0;
  std::int64_t spare_domains = 0;        ///< as configured
  std::int64_t spares_for_99pct = 0;     ///< domains that keep the full batch for 99 % of the time
  std::vector<double> full_batch_share;  ///< of the time, with 0, 1, ... spare domains, up to 1
  Summary peak_spares;                   ///< domains that keep it all the time
  Seconds step_time{};                   ///< of the healthy job
  Seconds checkpoint_interval{};
  std::vector<DegreeRate> reduced;              ///< what a reduced replica does, by TP degree
  std::vector<double> goodput_by_bucket;        ///< mean over the trials
  std::vector<double> loss_by_failed_fraction;  ///< see WhatIfResult::failed_fractions

  [[nodiscard]] double lost_gpu_hours() const;
};

/// How much more goodput `policy` has than `other` on the same failures, trial by trial.
struct PolicyDifference {
  PolicyKind policy = PolicyKind::restart;
  PolicyKind other = PolicyKind::restart;
  MeanInterval goodput;
};

struct WhatIfResult {
  std::string scenario;
  std::string description;
  std::uint64_t seed = 0;
  std::int64_t num_trials = 0;
  std::optional<StopRule> stop;  ///< of the request
  bool is_precise = false;       ///< as the stop rule asks
  std::int64_t num_gpus = 0;     ///< of the healthy job
  std::int64_t domain_size = 0;
  Days duration{};
  double usd_per_gpu_hour = 0.0;
  double faults_per_trial = 0.0;
  double mean_nodes_down = 0.0;  ///< share of all nodes, over time and trials
  double p99_nodes_down = 0.0;   ///< not exceeded for 99 % of a trial's time; mean over the trials
  std::vector<double> failed_fractions;     ///< of all GPUs, placed uniformly at random
  std::vector<double> domain_availability;  ///< share of fully healthy domains at those fractions
  std::vector<PolicyResult> policies;
  std::vector<PolicyDifference> differences;  ///< of each policy to every one before it
};

/// Lives through every trial under every policy; the policies of a trial see the same faults.
/// Infeasible when the healthy job cannot run. A function of the request, whatever the threads.
[[nodiscard]] Expected<WhatIfResult, Infeasible> run_what_if(const WhatIfRequest& request);

/// `result.json`, schema 1.
[[nodiscard]] Value to_value(const WhatIfResult& result);

}  // namespace runflat::planner
