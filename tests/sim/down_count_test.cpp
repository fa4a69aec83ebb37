#include "sim/down_count.hpp"

#include "core/error.hpp"
#include "sim/down_tally.hpp"
#include "tests/catch.hpp"

#include <algorithm>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

const ClusterShape kShape{.num_nodes = 6, .gpus_per_node = 4, .domain_size = 8};
constexpr SimTime kDuration{60};

FaultTimeline random_timeline(std::mt19937& generator) {
  std::vector<Fault> faults(generator() % 12);
  for (Fault& fault : faults) {
    fault.begin = SimTime{static_cast<std::int64_t>(generator() % 90) - 20};
    fault.end = generator() % 8 == 0 ? kNever : fault.begin + SimTime{generator() % 20};
    fault.blast_radius = static_cast<BlastRadius>(generator() % 4);
    fault.component = static_cast<std::int32_t>(
        generator() % static_cast<unsigned>(kShape.num_components(fault.blast_radius)));
  }
  return make_fault_timeline(kShape, kDuration, std::move(faults));
}

/// Counted the slow way: every component, every millisecond.
std::vector<std::int32_t> down_by_millisecond(const FaultTimeline& timeline, BlastRadius level) {
  std::vector<std::int32_t> result;
  for (SimTime now{0}; now < timeline.duration; ++now) {
    std::vector<bool> down(static_cast<std::size_t>(timeline.shape.num_components(level)));
    for (const Fault& fault : timeline.faults) {
      const ComponentRange range = components_hit(fault, timeline.shape, level);
      for (std::int32_t i = range.first; i < range.first + range.num; ++i) {
        if (fault.begin <= now && now < fault.end) {
          down[static_cast<std::size_t>(i)] = true;
        }
      }
    }
    result.push_back(static_cast<std::int32_t>(std::count(down.begin(), down.end(), true)));
  }
  return result;
}

}  // namespace

TEST_CASE("down counts agree with counting every component at every instant", "[sim][down_count]") {
  const BlastRadius level =
      GENERATE(BlastRadius::gpu, BlastRadius::node, BlastRadius::domain, BlastRadius::job);
  std::mt19937 generator{9};
  for (int round = 0; round < 200; ++round) {
    const FaultTimeline timeline = random_timeline(generator);
    const DownCount count{timeline, level};
    std::vector<std::int32_t> expected = down_by_millisecond(timeline, level);
    double sum = 0.0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      REQUIRE(count.at(SimTime{i}) == expected[i]);
      sum += expected[i];
    }
    CHECK(count.mean() == Approx(sum / static_cast<double>(expected.size())));
    const auto above = std::count_if(expected.begin(), expected.end(), [](int n) { return n > 2; });
    CHECK(count.fraction_above(2.0) == Approx(static_cast<double>(above) / 60.0));
    for (std::size_t i = 0; i + 1 < count.steps().size(); ++i) {
      REQUIRE(count.steps()[i].begin < count.steps()[i + 1].begin);
      REQUIRE(count.steps()[i].num_down != count.steps()[i + 1].num_down);
    }
    std::sort(expected.begin(), expected.end());
    CHECK(count.max() == expected.back());
    CHECK(count.quantile(0.0) == expected.front());
    CHECK(count.quantile(0.5) == expected[29]);
    CHECK(count.quantile(0.95) == expected[56]);
    CHECK(count.quantile(1.0) == expected.back());
  }
}

TEST_CASE("a tally over windows is the count of the whole trial", "[sim][down_count]") {
  const BlastRadius level = GENERATE(BlastRadius::gpu, BlastRadius::node, BlastRadius::domain);
  std::mt19937 generator{11};
  for (int round = 0; round < 200; ++round) {
    const FaultTimeline timeline = random_timeline(generator);
    DownTally tally(kShape, level, kDuration);
    for (const Fault& fault : timeline.faults) {
      tally.live_through({fault.begin + SimTime{1}, {&fault, 1}, {}, {}});
    }
    const DownTimes times = std::move(tally).finish();
    const DownCount count{timeline, level};
    CHECK(times.total() == kDuration);
    CHECK(times.mean() == count.mean());
    CHECK(times.quantile(0.9) == count.quantile(0.9));
    CHECK(times.fraction_above(1.0) == count.fraction_above(1.0));
  }
}

TEST_CASE("an observer who looks every interval sees the instants of the looks",
          "[sim][down_count]") {
  std::mt19937 generator{10};
  for (int round = 0; round < 50; ++round) {
    const DownCount count{random_timeline(generator), BlastRadius::gpu};
    CHECK(count.sampled_every(SimTime{1}).steps() == count.steps());
    const DownCount seen = count.sampled_every(SimTime{7});
    for (SimTime now{0}; now < kDuration; ++now) {
      REQUIRE(seen.at(now) == count.at(now - now % SimTime{7}));
    }
  }
}

TEST_CASE("two faults of one component count once, until the later end", "[sim][down_count]") {
  const FaultTimeline timeline =
      make_fault_timeline(kShape,
                          kDuration,
                          {{.begin = SimTime{10}, .end = SimTime{20}, .component = 3},
                           {.begin = SimTime{15}, .end = SimTime{40}, .component = 3}});
  using Step = DownCount::Step;
  CHECK(DownCount{timeline, BlastRadius::gpu}.steps() ==
        std::vector<Step>{{SimTime{0}, 0}, {SimTime{10}, 1}, {SimTime{40}, 0}});
}

TEST_CASE("statistics refuse what has no answer", "[sim][down_count]") {
  CHECK_THROWS_AS((DownCount{make_fault_timeline(kShape, SimTime{0}, {}), BlastRadius::gpu}),
                  InvalidArgument);
  const DownCount count{make_fault_timeline(kShape, kDuration, {}), BlastRadius::gpu};
  CHECK(count.mean() == 0.0);
  CHECK_THROWS_AS(count.at(kDuration), InvalidArgument);
  CHECK_THROWS_AS(count.quantile(1.5), InvalidArgument);
  CHECK_THROWS_AS(count.sampled_every(SimTime{0}), InvalidArgument);
}
