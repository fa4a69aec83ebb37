#include "planner/what_if.hpp"

#include "planner/loss_curve.hpp"
#include "planner/policy_tally.hpp"
#include "planner/recovery_cost.hpp"
#include "planner/replica_time.hpp"
#include "sim/availability.hpp"
#include "sim/down_tally.hpp"
#include "sim/fault_stream.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace runflat::planner {
namespace {

constexpr std::int64_t kNumBuckets = 108;  // half-days of the 54-day reference run
constexpr std::int64_t kTrialsAtOnce = 1024;
constexpr std::int64_t kNumPlacements = 200;
constexpr int kNumFractions = 9;
constexpr double kLargestFraction = 4e-3;  // or kFewestFailed GPUs, on a small cluster
constexpr double kFewestFailed = 8.0;

/// What one policy needs for its trials, and what came out.
struct PolicyRun {
  PolicyKind policy = PolicyKind::restart;
  PolicyRates rates;
  sim::JobSpec job;
  std::vector<sim::JobOutcome> outcomes;  // of the trials that run at the moment
  PolicyTally tally;
};

sim::SimTime duration_of(const WhatIfRequest& request) {
  return sim::to_sim_time(request.scenario.duration);
}

/// Those of the trace that is replayed, or of the scenario.
FaultRates fault_rates_of(const WhatIfRequest& request) {
  if (!request.trace) {
    return fault_rates(request.scenario);
  }
  FaultRates rates;
  const double days = std::max(request.scenario.duration.count(), 1e-9);
  for (const sim::Fault& fault : request.trace->faults) {
    rates.add(fault.blast_radius, 1.0 / days);
  }
  return rates;
}

Expected<PolicyRun, Infeasible> make_run(const Scenario& scenario,
                                         PolicyKind policy,
                                         Seconds step_time,
                                         const FaultRates& fault_rates) {
  const auto rates = scenario_rates(policy, scenario, fault_rates);
  if (!rates) {
    return rates.error();
  }
  PolicyRun run{.policy = policy,
                .rates = *rates,
                .job = {},
                .outcomes = {},
                .tally = PolicyTally(scenario.sites_per_domain())};
  run.job.sites = scenario.site_shape(policy);
  run.job.step_time = std::max(sim::to_sim_time(step_time), sim::SimTime{1});
  run.job.checkpoint = checkpoint_schedule(policy, scenario, fault_rates);
  run.job.change_costs = change_costs(policy, scenario);
  for (const Alternative& alternative : rates->alternatives) {
    run.job.variant_costs.push_back(change_costs(alternative.policy, scenario));
  }
  run.job.detect_crash = sim::to_sim_time(scenario.recovery.detect_crash);
  run.job.detect_hang = sim::to_sim_time(scenario.recovery.detect_hang);
  run.job.detect_timeout = sim::to_sim_time(scenario.recovery.detect_timeout);
  run.job.step_shares = step_shares(scenario);
  const bool weighs_interruptions = policy == PolicyKind::adaptive || policy == PolicyKind::ntp ||
                                    policy == PolicyKind::ntp_pw ||
                                    scenario.recovery.rejoin_rule == RejoinRule::when_it_pays;
  if (weighs_interruptions) {
    run.job.interruptions = interruptions(policy, scenario, fault_rates, step_time);
  }
  run.job.replan = [policy, known = *rates](const sim::SiteCensus& census) {
    return plan_operation(policy, known, census);
  };
  run.job.spares_needed = [policy, known = *rates](const sim::SiteCensus& census) {
    return spares_needed(policy, known, census);
  };
  run.job.num_buckets = kNumBuckets;
  return run;
}

struct TrialRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// Calls `work(trial)` for every trial on `num_threads` threads; rethrows the first exception.
/// `total` is for the progress.
template <typename Work>
void for_each_trial(const WhatIfRequest& request,
                    TrialRange trials,
                    std::int64_t total,
                    Work work) {
  std::int64_t num_threads = request.num_threads;
  if (num_threads <= 0) {
    num_threads = std::max(1U, std::thread::hardware_concurrency());
  }
  std::atomic<std::int64_t> next{trials.begin};
  std::int64_t done = trials.begin;
  std::mutex mutex;
  std::exception_ptr failure;
  const auto worker = [&] {
    for (std::int64_t trial = next++; trial < trials.end; trial = next++) {
      try {
        work(trial);
        const std::lock_guard lock(mutex);
        ++done;
        if (request.progress) {
          request.progress(done, total);
        }
      } catch (...) {
        const std::lock_guard lock(mutex);
        failure = failure ? failure : std::current_exception();
        next = trials.end;
      }
    }
  };
  std::vector<std::jthread> threads;
  for (std::int64_t i = 1; i < std::min(num_threads, trials.end - trials.begin); ++i) {
    threads.emplace_back(worker);
  }
  worker();
  threads.clear();
  if (failure) {
    std::rethrow_exception(failure);
  }
}

std::vector<PolicyDifference> differences(const std::vector<PolicyRun>& runs) {
  std::vector<PolicyDifference> all;
  for (std::size_t run = 1; run < runs.size(); ++run) {
    const std::vector<double>& mine = runs[run].tally.goodputs();
    for (std::size_t before = 0; before < run; ++before) {
      std::vector<double> gains = runs[before].tally.goodputs();
      std::transform(mine.begin(), mine.end(), gains.begin(), gains.begin(), std::minus<>());
      all.push_back({.policy = runs[run].policy,
                     .other = runs[before].policy,
                     .goodput = MeanInterval::of(gains)});
    }
  }
  return all;
}

/// Half width of the widest interval that a stop rule looks at; none while there is none.
std::optional<double> widest_interval(const std::vector<PolicyRun>& runs) {
  std::optional<double> widest;
  const auto look_at = [&](const MeanInterval& interval) {
    widest = std::max(widest, interval.half_width);
  };
  for (const PolicyRun& run : runs) {
    look_at(MeanInterval::of(run.tally.goodputs()));
  }
  for (const PolicyDifference& difference : differences(runs)) {
    look_at(difference.goodput);
  }
  return widest;
}

/// What failed in the trials.
struct FaultFacts {
  std::int64_t num_faults = 0;
  std::vector<double> mean_down;  ///< share of the nodes, by trial
  std::vector<double> p99_down;
};

/// Calls `take(window)` for all that fails in a trial, window by window.
template <typename Take>
void for_each_window(const WhatIfRequest& request,
                     const sim::ClusterShape& shape,
                     std::int64_t trial,
                     const Take& take) {
  if (request.trace) {
    const sim::FaultTimeline faults = sim::replay(*request.trace, shape, duration_of(request));
    take(sim::whole_window(faults, sim::corruptions_of(faults.faults)));
    return;
  }
  sim::FaultStream stream(request.scenario.failures,
                          shape,
                          duration_of(request),
                          request.seed,
                          static_cast<std::uint32_t>(trial));
  while (const auto window = stream.next()) {
    take(*window);
  }
}

/// What failed in one trial.
struct TrialFaults {
  std::int64_t num_faults = 0;
  double mean_down = 0.0;
  double p99_down = 0.0;
};

/// Lives through one trial under all policies at once, so that they see the same faults without
/// keeping them. The outcome goes to place `index` of every run.
TrialFaults run_trial(const WhatIfRequest& request,
                      std::int64_t trial,
                      std::size_t index,
                      std::vector<PolicyRun>& runs) {
  const Scenario& scenario = request.scenario;
  const sim::ClusterShape shape = scenario.shape_with_spares(scenario.most_spares());
  sim::DownTally nodes(shape, sim::BlastRadius::node, duration_of(request));
  std::vector<sim::JobLife> lives;
  for (const PolicyRun& run : runs) {
    lives.emplace_back(run.job, shape, duration_of(request));
  }
  TrialFaults facts;
  for_each_window(request, shape, trial, [&](const sim::FaultWindow& window) {
    facts.num_faults += static_cast<std::int64_t>(window.faults.size());
    nodes.live_through(window);
    for (sim::JobLife& life : lives) {
      life.live_through(window);
    }
  });
  for (std::size_t run = 0; run < runs.size(); ++run) {
    runs[run].outcomes[index] = std::move(lives[run]).finish();
  }
  const sim::DownTimes down = std::move(nodes).finish();
  facts.mean_down = down.mean() / shape.num_nodes;
  facts.p99_down = static_cast<double>(down.quantile(0.99)) / shape.num_nodes;
  return facts;
}

/// Lives through a range of trials and adds them up, a chunk at a time: no more outcomes than that
/// are in memory at once.
void run_batch(const WhatIfRequest& request,
               TrialRange batch,
               std::vector<PolicyRun>& runs,
               FaultFacts& facts) {
  std::atomic<std::int64_t> num_faults{0};
  facts.mean_down.resize(static_cast<std::size_t>(batch.end));
  facts.p99_down.resize(static_cast<std::size_t>(batch.end));
  for (TrialRange chunk = batch; chunk.begin < batch.end; chunk.begin = chunk.end) {
    chunk.end = std::min(chunk.begin + kTrialsAtOnce, batch.end);
    for (PolicyRun& run : runs) {
      run.outcomes.resize(static_cast<std::size_t>(chunk.end - chunk.begin));
    }
    for_each_trial(request, chunk, batch.end, [&](std::int64_t trial) {
      const TrialFaults found =
          run_trial(request, trial, static_cast<std::size_t>(trial - chunk.begin), runs);
      num_faults += found.num_faults;
      facts.mean_down[static_cast<std::size_t>(trial)] = found.mean_down;
      facts.p99_down[static_cast<std::size_t>(trial)] = found.p99_down;
    });
    for (PolicyRun& run : runs) {
      for (const sim::JobOutcome& outcome : run.outcomes) {
        run.tally.add(outcome);
      }
    }
  }
  facts.num_faults += num_faults.load();
}

/// Lives through trials in batches, as many as the request asks for.
FaultFacts run_trials(const WhatIfRequest& request, std::vector<PolicyRun>& runs) {
  FaultFacts facts;
  TrialRange batch{.begin = 0, .end = request.trace ? 1 : request.num_trials};
  while (batch.begin < batch.end) {
    run_batch(request, batch, runs, facts);
    batch.begin = batch.end;
    if (request.stop && !request.trace) {
      batch.end = trials_wanted(*request.stop, batch.end, widest_interval(runs));
    }
  }
  return facts;
}

PolicyResult summarise(const PolicyRun& run, const Scenario& scenario) {
  PolicyResult result;
  result.policy = run.policy;
  run.tally.summarise(result);
  result.spare_domains = scenario.spares_of(run.policy);
  result.reduced = run.rates.reduced;
  result.step_time = sim::to_seconds(run.job.step_time);
  result.checkpoint_interval = sim::to_seconds(run.job.checkpoint.interval);
  return result;
}

void add_loss_curves(const WhatIfRequest& request,
                     const std::vector<PolicyRun>& runs,
                     WhatIfResult& result) {
  const auto num_gpus = static_cast<double>(request.scenario.cluster.num_gpus());
  const double largest = std::min(1.0, std::max(kLargestFraction, kFewestFailed / num_gpus));
  for (int i = 0; i < kNumFractions; ++i) {
    const double fraction = largest * i / (kNumFractions - 1);
    result.failed_fractions.push_back(fraction);
    result.domain_availability.push_back(sim::group_availability(
        sim::FailedGpus::of_fraction(request.scenario.cluster.num_gpus(), fraction),
        request.scenario.cluster.domain_size));
  }
  for (std::size_t run = 0; run < runs.size(); ++run) {
    const sim::SiteShape shape = request.scenario.site_shape(runs[run].policy);
    for (const double fraction : result.failed_fractions) {
      const std::int64_t failed =
          sim::FailedGpus::of_fraction(shape.cluster.num_gpus(), fraction).num_failed;
      result.policies[run].loss_by_failed_fraction.push_back(mean_loss(
          runs[run].policy, runs[run].rates, shape, failed, kNumPlacements, request.seed));
    }
  }
}

}  // namespace

Summary Summary::of(std::vector<double> values) {
  require(!values.empty(), "a summary of nothing");
  double sum = 0.0;
  for (const double value : values) {
    sum += value;
  }
  std::sort(values.begin(), values.end());
  const auto quantile = [&](double q) {
    const double place = q * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (place - std::floor(place)) * (values[above] - values[below]);
  };
  return {.mean = sum / static_cast<double>(values.size()),
          .p5 = quantile(0.05),
          .p50 = quantile(0.5),
          .p95 = quantile(0.95)};
}

double PolicyResult::lost_gpu_hours() const {
  return owned_gpu_hours - gpu_hours[static_cast<std::size_t>(sim::Cause::useful)];
}

Expected<WhatIfResult, Infeasible> run_what_if(const WhatIfRequest& request) {
  const Scenario& scenario = request.scenario;
  require(request.num_trials >= 1 && !request.policies.empty(), "a trial and a policy at least");
  const auto step_time = healthy_step_time(scenario);
  if (!step_time) {
    return step_time.error();
  }
  const FaultRates fault_rates = fault_rates_of(request);
  std::vector<PolicyRun> runs;
  for (const PolicyKind policy : request.policies) {
    auto run = make_run(scenario, policy, *step_time, fault_rates);
    if (!run) {
      return run.error();
    }
    runs.push_back(std::move(run).value());
  }
  FaultFacts faults = run_trials(request, runs);
  const auto num_trials = static_cast<std::int64_t>(runs.front().tally.goodputs().size());
  WhatIfResult result{
      .scenario = scenario.name,
      .description = scenario.description,
      .seed = request.seed,
      .num_trials = num_trials,
      .stop = request.stop,
      .is_precise = false,
      .num_gpus = scenario.layout.num_ranks(),
      .domain_size = scenario.cluster.domain_size,
      .duration = scenario.duration,
      .usd_per_gpu_hour = scenario.usd_per_gpu_hour,
      .faults_per_trial = static_cast<double>(faults.num_faults) / static_cast<double>(num_trials),
      .mean_nodes_down = Summary::of(std::move(faults.mean_down)).mean,
      .p99_nodes_down = Summary::of(std::move(faults.p99_down)).mean,
      .failed_fractions = {},
      .domain_availability = {},
      .policies = {},
      .differences = differences(runs)};
  if (request.stop) {
    const auto widest = widest_interval(runs);
    result.is_precise = widest && *widest <= request.stop->half_width;
  }
  for (const PolicyRun& run : runs) {
    result.policies.push_back(summarise(run, scenario));
  }
  if (request.with_loss_curves) {
    add_loss_curves(request, runs, result);
  }
  return result;
}

}  // namespace runflat::planner
