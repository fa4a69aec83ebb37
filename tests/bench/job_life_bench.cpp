// One 54-day trial of a job of 16,384 GPUs under each policy; items are faults.

#include "planner/policy.hpp"
#include "sim/fault_sampler.hpp"
#include "sim/job_life.hpp"

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <string>
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

}  // namespace
