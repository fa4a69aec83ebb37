#include "core/model.hpp"
#include "sim/hardware.hpp"
#include "sim/step_cost.hpp"
#include "sim/step_simulator.hpp"

#include <benchmark/benchmark.h>

#include <cstdint>

namespace {

using namespace runflat;
using namespace runflat::sim;

ModelSpec gpt_175b() {
  ModelSpec model;
  model.num_layers = 96;
  model.hidden_size = 12288;
  model.ffn_hidden_size = 49152;
  model.num_attention_heads = 96;
  model.num_query_groups = 96;
  model.kv_channels = 128;
  model.seq_length = 2048;
  model.padded_vocab_size = 51200;
  return model;
}

StepQuery query_of(std::int64_t pp, std::int64_t microbatches) {
  StepQuery query;
  query.tp = 8;
  query.pp = pp;
  query.dp = 8;
  query.num_microbatches = microbatches;
  query.sequence_parallel = true;
  query.zero_stage = 1;
  return query;
}

/// Layouts as a search tries them: every call another one.
void closed_form(benchmark::State& state, const char* gpu) {
  const HardwareParameters on = load_hardware(gpu);
  const ModelSpec model = gpt_175b();
  StepQuery query = query_of(8, 32);
  std::int64_t i = 0;
  for (auto _ : state) {
    ++i;
    query.tp = 1 + i % 8;
    query.micro_batch_size = 1 + i % 4;
    query.num_microbatches = 16 + i % 64;
    benchmark::DoNotOptimize(step_cost(model, query, on));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK_CAPTURE(closed_form, a100, "a100");
BENCHMARK_CAPTURE(closed_form, h100, "h100");

void simulate_schedule(benchmark::State& state, const char* gpu) {
  const HardwareParameters on = load_hardware(gpu);
  const StepQuery query = query_of(16, 64);
  const StepTerms terms = step_terms(gpt_175b(), query, on);
  const StepSchedule schedule = schedule_of(query);
  const ReplicaRun replica{&schedule, &terms, {}};
  StepSimulator simulator;
  for (auto _ : state) {
    benchmark::DoNotOptimize(simulator.run(std::span(&replica, 1)).step_time);
  }
  state.SetItemsProcessed(state.iterations());
  state.counters["ops"] = static_cast<double>(schedule.num_ops());
}
BENCHMARK_CAPTURE(simulate_schedule, blocking_a100, "a100");
BENCHMARK_CAPTURE(simulate_schedule, overlapping_h100, "h100");

/// With the making of the schedule.
void make_and_simulate(benchmark::State& state) {
  const HardwareParameters on = load_hardware("h100");
  const StepQuery query = query_of(16, 64);
  const ModelSpec model = gpt_175b();
  StepSimulator simulator;
  for (auto _ : state) {
    const StepTerms terms = step_terms(model, query, on);
    const StepSchedule schedule = schedule_of(query);
    const ReplicaRun replica{&schedule, &terms, {}};
    benchmark::DoNotOptimize(simulator.run(std::span(&replica, 1)).step_time);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(make_and_simulate);

}  // namespace
