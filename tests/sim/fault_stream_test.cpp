#include "sim/fault_stream.hpp"

#include "core/error.hpp"
#include "sim/fault_sampler.hpp"
#include "tests/catch.hpp"
#include "tests/sim/rich_failures.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

const ClusterShape kShape{.num_nodes = 8192, .gpus_per_node = 8, .domain_size = 64};

template <typename Item>
void check_and_append(std::span<const Item> items,
                      SimTime begin,
                      SimTime end,
                      std::vector<Item>& all) {
  REQUIRE(std::is_sorted(items.begin(), items.end()));
  if (!items.empty()) {
    REQUIRE(items.front().begin >= begin);
    REQUIRE(items.back().begin < end);
  }
  all.insert(all.end(), items.begin(), items.end());
}

}  // namespace

TEST_CASE("windows follow one another and hold each fault once, in order", "[sim][fault_stream]") {
  const FailureModel model = rich_failures();
  const SimTime duration = to_sim_time(Days{365});
  FaultStream stream(model, kShape, duration, 5, 2);
  std::vector<Fault> faults;
  std::vector<Slowdown> slowdowns;
  std::vector<Corruption> corruptions;
  SimTime before = -kNever;
  int num_windows = 0;
  while (const auto window = stream.next()) {
    REQUIRE(window->end > std::max(before, SimTime::zero()));  // the warm-up is in the first
    check_and_append(window->faults, before, window->end, faults);
    check_and_append(window->slowdowns, before, window->end, slowdowns);
    check_and_append(window->corruptions, before, window->end, corruptions);
    before = window->end;
    ++num_windows;
  }
  CHECK(num_windows > 1);
  CHECK(before == duration + SimTime{1});
  CHECK(faults.size() > 1000);
  CHECK(slowdowns.size() > 100);
  CHECK(corruptions.size() > 100);
  CHECK(corruptions == corruptions_of(faults));
  const FaultTimeline whole = sample_faults(model, kShape, duration, 5, 2);
  CHECK(whole.faults == faults);
  CHECK(whole.slowdowns == slowdowns);
}

TEST_CASE("what a stream holds does not grow with simulated time", "[sim][fault_stream]") {
  // A window and what is under way, of which there is as much after one year as after ten; vectors
  // aside, a timeline would hold ten times as much.
  const FailureModel model = rich_failures();
  const auto most_held = [&](Days duration) {
    FaultStream stream(model, kShape, to_sim_time(duration), 5, 3);
    std::size_t most = 0;
    while (stream.next()) {
      most = std::max(most, stream.num_held());
    }
    return most;
  };
  const auto year = static_cast<double>(most_held(Days{365}));
  CHECK(static_cast<double>(most_held(Days{3650})) < 1.5 * year);
  CHECK(year < 0.6 * static_cast<double>(
                         sample_faults(model, kShape, to_sim_time(Days{365}), 5, 3).faults.size()));
}

TEST_CASE("a stream ends with the trial, whatever fails", "[sim][fault_stream]") {
  const FailureModel nothing;
  FaultStream empty(nothing, kShape, to_sim_time(Days{1}), 1, 0);
  const auto window = empty.next();
  REQUIRE(window);
  CHECK(window->faults.empty());
  CHECK_FALSE(empty.next());
  CHECK_FALSE(empty.next());
  FaultStream at_once(nothing, kShape, SimTime{0}, 1, 0);
  CHECK(at_once.next());
  CHECK_FALSE(at_once.next());
  CHECK_THROWS_AS((FaultStream(nothing, kShape, SimTime{-1}, 1, 0)), InvalidArgument);
}
