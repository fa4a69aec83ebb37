#include "sim/down_count.hpp"
#include "sim/fault_sampler.hpp"

#include <benchmark/benchmark.h>

#include <cstdint>

namespace {

using namespace runflat;
using namespace runflat::sim;

const ClusterShape kShape{.num_nodes = 2048, .gpus_per_node = 8, .domain_size = 8};
constexpr Days kDuration{54};

/// The Llama-3 rate, 419 faults in 54 days, with the repairs fitted to the InfiniteHBD trace.
FailureModel llama3_model(double arrival_shape) {
  const Distribution repair =
      Distribution::lognormal_mixture({{.weight = 0.35, .median = Hours{0.76}, .sigma = 2.07},
                                       {.weight = 0.65, .median = Hours{57.1}, .sigma = 1.61}});
  return {.classes = {{.name = "gpu",
                       .blast_radius = BlastRadius::gpu,
                       .rate_per_node_day = 3.788e-3,
                       .arrival_shape = arrival_shape,
                       .repair = repair}}};
}

void sample_trial(benchmark::State& state) {
  const FailureModel model = llama3_model(static_cast<double>(state.range(0)) / 100.0);
  std::uint32_t trial = 0;
  std::int64_t num_faults = 0;
  for (auto _ : state) {
    const FaultTimeline timeline = sample_faults(model, kShape, to_sim_time(kDuration), 1, trial++);
    num_faults += static_cast<std::int64_t>(timeline.faults.size());
  }
  state.SetItemsProcessed(num_faults);
}
BENCHMARK(sample_trial)->Name("sample_faults/16384_gpus_54_days/shape_percent")->Arg(100)->Arg(62);

/// The same with lemon nodes, batches, refaults and a rate that steps, over a year of 100,000 GPUs.
void sample_rich_year(benchmark::State& state) {
  const ClusterShape shape{.num_nodes = 12500, .gpus_per_node = 8, .domain_size = 8};
  FailureModel model = llama3_model(0.8);
  model.node_rate_shape = 1.5;
  FailureClass& gpu = model.classes.front();
  gpu.batches.weights = {20, 3, 1};
  gpu.refault = {.probability = 0.25, .delay = Distribution::lognormal(Hours{3}, 1.5)};
  gpu.rate_over_time = {{.from = Days{100}, .factor = 2.0}, {.from = Days{150}, .factor = 1.0}};
  std::uint32_t trial = 0;
  std::int64_t num_faults = 0;
  for (auto _ : state) {
    const FaultTimeline timeline = sample_faults(model, shape, to_sim_time(Days{365}), 1, trial++);
    num_faults += static_cast<std::int64_t>(timeline.faults.size());
  }
  state.SetItemsProcessed(num_faults);
}
BENCHMARK(sample_rich_year)->Name("sample_faults/100000_gpus_365_days/all_processes");

void count_down(benchmark::State& state) {
  const FaultTimeline timeline =
      sample_faults(llama3_model(1.0), kShape, to_sim_time(kDuration), 1, 0);
  for (auto _ : state) {
    benchmark::DoNotOptimize(DownCount{timeline, BlastRadius::node});
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(timeline.faults.size()));
}
BENCHMARK(count_down)->Name("down_count/16384_gpus_54_days");

}  // namespace
