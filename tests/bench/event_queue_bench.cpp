#include "sim/event_queue.hpp"
#include "sim/random.hpp"

#include <benchmark/benchmark.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace {

using namespace runflat::sim;

struct JobEvent {
  std::int32_t kind;
  std::int32_t component;
};

/// The hold model: with a fixed number pending, each event taken pushes one more after an
/// exponential delay of mean 1000 s.
void hold(benchmark::State& state) {
  constexpr std::size_t kDelays = 1U << 16U;
  std::array<SimTime, kDelays> delays{};
  RandomStream stream{1, {}};
  for (SimTime& delay : delays) {
    delay = to_sim_time(runflat::Seconds{1000.0 * stream.exponential()});
  }
  EventQueue<JobEvent> queue;
  std::size_t next_delay = 0;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    queue.push(delays[next_delay++ % kDelays], {0, static_cast<std::int32_t>(i)});
  }
  for (auto _ : state) {
    const auto entry = queue.pop();
    queue.push(entry->time + delays[next_delay++ % kDelays], entry->event);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(hold)->Name("event_queue/hold/pending")->Arg(1000)->Arg(10000)->Arg(100000);

}  // namespace
