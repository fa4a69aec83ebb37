// The life of one job under one policy; items are faults.

#include "planner/policy.hpp"
#include "sim/fault_sampler.hpp"
#include "sim/fault_stream.hpp"
#include "sim/job_life.hpp"
#include "tests/allocation_meter.hpp"

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace runflat;
using namespace runflat::planner;

constexpr std::int32_t kSpareNodes = 64;
constexpr Days kDuration{54};

/// The Llama-3 rates, 419 faults in 54 days, by what they take down.
sim::FailureModel llama3_model() {
  const auto repair = sim::Distribution::lognormal_mixture(
      {{.weight = 0.35, .median = Hours{0.76}, .sigma = 2.07},
       {.weight = 0.65, .median = Hours{57.1}, .sigma = 1.61}});
  const auto kind = [&](const char* name, sim::BlastRadius radius, double per_node_day) {
    return sim::FailureClass{
        .name = name, .blast_radius = radius, .rate_per_node_day = per_node_day, .repair = repair};
  };
  return {.classes = {kind("gpu", sim::BlastRadius::gpu, 2.423e-3),
                      kind("node", sim::BlastRadius::node, 0.796e-3),
                      kind("software", sim::BlastRadius::job, 0.570e-3)}};
}

/// TP 8 x PP 16 x DP 128; a reduced replica does its part of the batch.
PolicyRates llama3_rates() {
  PolicyRates rates{.tp = 8,
                    .sites_per_replica = 16,
                    .num_replicas = 128,
                    .reduced = std::vector<DegreeRate>(9),
                    .uniform = std::vector<double>(9, 0.0),
                    .healthy_slowdown = std::vector<double>(9, 1.0)};
  for (std::int64_t degree = 1; degree <= 8; ++degree) {
    const auto index = static_cast<std::size_t>(degree);
    rates.reduced[index] = {.num_microbatches = 2 * degree,
                            .share = static_cast<double>(degree) / 8.0};
    rates.uniform[index] = 8 % degree == 0 ? static_cast<double>(degree) / 8.0 : 0.0;
  }
  return rates;
}

void live(benchmark::State& state) {
  const PolicyKind policy = kAllPolicies[static_cast<std::size_t>(state.range(0))];
  const sim::ClusterShape cluster{
      .num_nodes = 2048 + kSpareNodes, .gpus_per_node = 8, .domain_size = 8};
  const sim::FaultTimeline faults =
      sim::sample_faults(llama3_model(), cluster, sim::to_sim_time(kDuration), 1, 0);
  const PolicyRates rates = llama3_rates();
  sim::JobSpec job{.sites = {.cluster = cluster, .tp = 8, .num_job_sites = 2048},
                   .step_time = sim::SimTime{9'000},
                   .checkpoint = {.interval = sim::SimTime{670'000}, .cost = sim::SimTime{20'000}},
                   .detect_crash = sim::SimTime{5'000},
                   .detect_hang = sim::SimTime{60'000}};
  job.change_costs.fill({.pause = sim::SimTime{20'000}});
  job.replan = [&](const sim::SiteCensus& census) { return plan_operation(policy, rates, census); };
  job.spares_needed = [&](const sim::SiteCensus& census) {
    return spares_needed(policy, rates, census);
  };
  for (auto _ : state) {
    benchmark::DoNotOptimize(sim::simulate_job(job, faults));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(faults.faults.size()));
  state.SetLabel(std::string(to_string(policy)));
}
BENCHMARK(live)
    ->Name("simulate_job/16384_gpus_54_days/policy")
    ->DenseRange(0, static_cast<std::int64_t>(kAllPolicies.size()) - 1)
    ->Unit(benchmark::kMicrosecond);

sim::Distribution trace_repairs() {
  return sim::Distribution::lognormal_mixture(
      {{.weight = 0.35, .median = Hours{0.76}, .sigma = 2.07},
       {.weight = 0.65, .median = Hours{57.1}, .sigma = 1.61}});
}

/// A job of `num_nodes` nodes of 8 GPUs at TP 8 and `spares` beside it, as replicas of
/// `sites_per_replica` TP groups whose step takes as long as its work divided by its degree.
sim::JobSpec job_of(PolicyKind policy,
                    std::int32_t num_nodes,
                    std::int32_t spares,
                    std::int64_t sites_per_replica) {
  PolicyRates rates{.tp = 8,
                    .sites_per_replica = sites_per_replica,
                    .num_replicas = num_nodes / sites_per_replica,
                    .reduced = std::vector<DegreeRate>(9),
                    .uniform = std::vector<double>(9, 0.0),
                    .healthy_slowdown = std::vector<double>(9, 1.0)};
  for (std::int32_t degree = 1; degree <= 8; ++degree) {
    const auto index = static_cast<std::size_t>(degree);
    rates.reduced[index] = {.num_microbatches = 2 * degree, .share = degree / 8.0, .obstacle = {}};
    rates.uniform[index] = 8 % degree == 0 ? degree / 8.0 : 0.0;
  }
  sim::JobSpec job;
  job.sites = {.cluster = {.num_nodes = num_nodes + spares, .gpus_per_node = 8, .domain_size = 8},
               .tp = 8,
               .num_job_sites = num_nodes};
  job.step_time = sim::SimTime{5000};
  job.checkpoint = {.interval = sim::SimTime{600'000}, .cost = sim::SimTime{20'000}};
  job.change_costs.fill(
      {.pause = sim::SimTime{300'000}, .rolls_back = policy == PolicyKind::restart});
  job.detect_crash = sim::SimTime{5000};
  job.detect_hang = sim::SimTime{60'000};
  job.replan = [policy, rates](const sim::SiteCensus& census) {
    return plan_operation(policy, rates, census);
  };
  job.spares_needed = [policy, rates](const sim::SiteCensus& census) {
    return spares_needed(policy, rates, census);
  };
  return job;
}

void simulate_trials(benchmark::State& state,
                     const sim::JobSpec& job,
                     const sim::FailureModel& model,
                     Days duration) {
  constexpr std::uint32_t kNumTrials = 4;
  std::vector<sim::FaultTimeline> trials;
  for (std::uint32_t trial = 0; trial < kNumTrials; ++trial) {
    trials.push_back(
        sim::sample_faults(model, job.sites.cluster, sim::to_sim_time(duration), 1, trial));
  }
  std::size_t next = 0;
  std::int64_t num_faults = 0;
  for (auto _ : state) {
    const sim::FaultTimeline& faults = trials[next++ % kNumTrials];
    benchmark::DoNotOptimize(sim::simulate_job(job, faults));
    num_faults += static_cast<std::int64_t>(faults.faults.size());
  }
  state.SetItemsProcessed(num_faults);
}

/// AIReSim's default: 4,160 servers and 200 spares for 256 days, in which 11,000 servers fail.
void aire_sim_default(benchmark::State& state) {
  const sim::FailureModel model = {
      .classes = {{.name = "server",
                   .blast_radius = sim::BlastRadius::node,
                   .rate_per_node_day = 11'000.0 / (4360.0 * 256.0),
                   .repair = sim::Distribution::exponential(Hours{24.0})}}};
  simulate_trials(state, job_of(PolicyKind::restart, 4160, 200, 16), model, Days{256});
}
BENCHMARK(aire_sim_default)
    ->Name("simulate_job/4360_servers_256_days")
    ->Unit(benchmark::kMillisecond);

/// 100,000 GPUs at the Llama-3 rate, nine tenths of the faults of single GPUs.
sim::FailureModel failures_of_100k_gpus() {
  const sim::Distribution repair = trace_repairs();
  return {.classes = {{.name = "gpu",
                       .blast_radius = sim::BlastRadius::gpu,
                       .rate_per_node_day = 3.4e-3,
                       .repair = repair},
                      {.name = "node",
                       .blast_radius = sim::BlastRadius::node,
                       .rate_per_node_day = 0.4e-3,
                       .repair = repair}}};
}

void year_of_100k_gpus(benchmark::State& state) {
  const auto policy = static_cast<PolicyKind>(state.range(0));
  state.SetLabel(std::string(to_string(policy)));
  simulate_trials(state, job_of(policy, 12'160, 384, 16), failures_of_100k_gpus(), Days{365});
}
BENCHMARK(year_of_100k_gpus)
    ->Name("simulate_job/100352_gpus_365_days/policy")
    ->DenseRange(0, static_cast<std::int64_t>(kAllPolicies.size()) - 1)
    ->Unit(benchmark::kMillisecond);

/// What a campaign does for a trial: eight policies live through the same faults, which are sampled
/// on the way. `peak_bytes` is the most memory at any moment.
void trial_of_100k_gpus(benchmark::State& state) {
  constexpr std::size_t kNumPolicies = 8;
  const sim::FailureModel model = failures_of_100k_gpus();
  const sim::SimTime duration = sim::to_sim_time(Days{365.0 * static_cast<double>(state.range(0))});
  std::vector<sim::JobSpec> jobs;
  for (std::size_t i = 0; i < kNumPolicies; ++i) {
    jobs.push_back(job_of(kAllPolicies[i], 12'160, 384, 16));
  }
  const tests::AllocationMeter meter;
  std::uint32_t trial = 0;
  std::size_t num_faults = 0;
  for (auto _ : state) {
    const sim::ClusterShape shape = jobs.front().sites.cluster;
    std::vector<sim::JobLife> lives;
    for (const sim::JobSpec& job : jobs) {
      lives.emplace_back(job, shape, duration);
    }
    sim::FaultStream stream(model, shape, duration, 1, trial++);
    while (const auto window = stream.next()) {
      num_faults += window->faults.size();
      for (sim::JobLife& life : lives) {
        life.live_through(*window);
      }
    }
    for (sim::JobLife& life : lives) {
      benchmark::DoNotOptimize(std::move(life).finish());
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(num_faults * kNumPolicies));
  state.counters["peak_bytes"] = static_cast<double>(meter.peak());
}
BENCHMARK(trial_of_100k_gpus)
    ->Name("campaign_trial/100352_gpus_8_policies/years")
    ->Arg(1)
    ->Arg(10)
    ->Unit(benchmark::kMillisecond);

}  // namespace
