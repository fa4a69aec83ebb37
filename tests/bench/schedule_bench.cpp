#include "core/schedule.hpp"

#include <benchmark/benchmark.h>

namespace runflat {
namespace {

/// Arguments: stages, virtual stages, microbatches.
void make_schedule(benchmark::State& state) {
  const PipelineShape shape{.num_stages = static_cast<int>(state.range(0)),
                            .num_vp_stages = static_cast<int>(state.range(1)),
                            .num_microbatches = static_cast<int>(state.range(2))};
  std::size_t num_ops = 0;
  for (auto _ : state) {
    num_ops = make_step_schedule(shape, {.reshard = true}).num_ops();
    benchmark::DoNotOptimize(num_ops);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(num_ops));
}
BENCHMARK(make_schedule)
    ->ArgNames({"pp", "v", "m"})
    ->Args({16, 1, 64})
    ->Args({16, 4, 64})
    ->Args({8, 1, 8});

}  // namespace
}  // namespace runflat
