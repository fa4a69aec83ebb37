#include "core/layout.hpp"
#include "core/process_groups.hpp"

#include <benchmark/benchmark.h>

namespace runflat {
namespace {

/// TP8 PP16 on this many replicas; two of them have lost GPUs.
void make_groups(benchmark::State& state) {
  const ParallelSizes sizes{.tp = 8, .dp = state.range(0), .pp = 16, .etp = 8};
  const ParallelLayout layout = ParallelLayout::nonuniform(
      sizes,
      {{{DpRank(0), CpRank(0), PpRank(3)}, {2, 5}}, {{DpRank(1), CpRank(0), PpRank(7)}, {0}}});
  for (auto _ : state) {
    benchmark::DoNotOptimize(make_process_groups(layout));
  }
  state.SetItemsProcessed(state.iterations() * layout.num_ranks());
}
BENCHMARK(make_groups)->ArgName("dp")->Arg(8)->Arg(128)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace runflat
