#include "core/communicator_change.hpp"
#include "core/state_move.hpp"
#include "core/transition.hpp"

#include <benchmark/benchmark.h>

namespace runflat {
namespace {

/// Llama-3 405B at TP8 PP16 on this many replicas.
Plan healthy_plan(std::int64_t dp) {
  Plan plan;
  plan.model = {.name = "llama3-405b",
                .family = ModelFamily::llama,
                .num_layers = 126,
                .hidden_size = 16384,
                .ffn_hidden_size = 53248,
                .num_attention_heads = 128,
                .num_query_groups = 8,
                .kv_channels = 128,
                .seq_length = 8192,
                .padded_vocab_size = 128256,
                .gated_linear_unit = true,
                .rms_norm = true};
  plan.cluster = {.gpu = "h100", .num_nodes = 16 * dp};
  plan.layout = ParallelLayout::uniform({.tp = 8, .dp = dp, .pp = 16, .etp = 8});
  plan.replicas.resize(static_cast<std::size_t>(dp));
  return plan;
}

/// The same after one GPU has died: its replica goes on at TP7, and all replicas compute in the map
/// that synchronises at TP7.
Plan damaged_plan(Plan plan) {
  plan.failed = {GpuId(3)};
  std::vector<Cell> cells = plan.layout.cells();
  for (std::int64_t pp = 0; pp < plan.layout.sizes().pp; ++pp) {
    cells[plan.layout.cell_index({DpRank(0), CpRank(0), PpRank(pp)})].inactive = {3};
  }
  plan.layout = ParallelLayout::from_cells(plan.layout.sizes(), std::move(cells));
  return plan;
}

void transition_of_one_damaged_replica(benchmark::State& state) {
  const Plan old = healthy_plan(state.range(0));
  const Plan next = damaged_plan(old);
  for (auto _ : state) {
    benchmark::DoNotOptimize(make_transition(old, next));
  }
  state.SetItemsProcessed(state.iterations() * old.layout.num_ranks());
}
BENCHMARK(transition_of_one_damaged_replica)
    ->ArgName("dp")
    ->Arg(8)
    ->Arg(128)
    ->Unit(benchmark::kMillisecond);

void unit_moves_of_one_damaged_replica(benchmark::State& state) {
  const Plan old = healthy_plan(state.range(0));
  const Plan next = damaged_plan(old);
  for (auto _ : state) {
    benchmark::DoNotOptimize(unit_moves(old, next));
  }
  state.SetItemsProcessed(state.iterations() * old.layout.num_ranks());
}
BENCHMARK(unit_moves_of_one_damaged_replica)
    ->ArgName("dp")
    ->Arg(128)
    ->Unit(benchmark::kMillisecond);

void communicators_of_one_damaged_replica(benchmark::State& state) {
  const Plan old = healthy_plan(state.range(0));
  const Plan next = damaged_plan(old);
  for (auto _ : state) {
    benchmark::DoNotOptimize(communicator_changes(old.layout, next.layout));
  }
  state.SetItemsProcessed(state.iterations() * old.layout.num_ranks());
}
BENCHMARK(communicators_of_one_damaged_replica)
    ->ArgName("dp")
    ->Arg(128)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace runflat
