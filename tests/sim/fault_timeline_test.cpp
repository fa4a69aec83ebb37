#include "sim/fault_timeline.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"

#include <algorithm>
#include <random>
#include <set>
#include <type_traits>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

Fault random_fault(const ClusterShape& shape, std::mt19937& generator) {
  Fault fault;
  fault.begin = SimTime{generator() % 100};
  fault.end = fault.begin + SimTime{generator() % 100};
  fault.blast_radius = static_cast<BlastRadius>(generator() % 4);
  fault.component = static_cast<std::int32_t>(
      generator() % static_cast<unsigned>(shape.num_components(fault.blast_radius)));
  fault.class_index = static_cast<std::int32_t>(generator() % 3);
  return fault;
}

}  // namespace

TEST_CASE("the order of a timeline depends on its faults alone", "[sim][fault_timeline]") {
  const ClusterShape shape{.num_nodes = 5, .gpus_per_node = 4, .domain_size = 8};
  std::mt19937 generator{6};
  std::vector<Fault> faults(200);
  for (Fault& fault : faults) {
    fault = random_fault(shape, generator);
  }
  const FaultTimeline timeline = make_fault_timeline(shape, SimTime{100}, faults);
  CHECK(std::is_sorted(timeline.faults.begin(),
                       timeline.faults.end(),
                       [](const Fault& a, const Fault& b) { return a.begin < b.begin; }));
  for (int i = 0; i < 10; ++i) {
    std::shuffle(faults.begin(), faults.end(), generator);
    CHECK(make_fault_timeline(shape, SimTime{100}, faults) == timeline);
  }
}

TEST_CASE("a fault hits a node or domain exactly if it hits one of its GPUs",
          "[sim][fault_timeline]") {
  const ClusterShape shape = GENERATE(ClusterShape{5, 4, 8},
                                      ClusterShape{4, 8, 8},
                                      ClusterShape{4, 8, 4},
                                      ClusterShape{18, 4, 72},
                                      ClusterShape{7, 3, 5},
                                      ClusterShape{1, 1, 1});
  std::mt19937 generator{7};
  for (int i = 0; i < 100; ++i) {
    const Fault fault = random_fault(shape, generator);
    const auto members = [&](BlastRadius level) {
      const ComponentRange range = components_hit(fault, shape, level);
      std::set<std::int32_t> numbers;
      for (std::int32_t n = range.first; n < range.first + range.num; ++n) {
        numbers.insert(n);
      }
      return numbers;
    };
    std::set<std::int32_t> nodes;
    std::set<std::int32_t> domains;
    for (const std::int32_t gpu : members(BlastRadius::gpu)) {
      REQUIRE(gpu < shape.num_gpus());
      nodes.insert(gpu / shape.gpus_per_node);
      domains.insert(gpu / shape.domain_size);
    }
    CHECK(members(BlastRadius::node) == nodes);
    CHECK(members(BlastRadius::domain) == domains);
    CHECK(nodes.empty() == (fault.blast_radius == BlastRadius::job));
  }
}

TEST_CASE("the last domain of a cluster that does not divide is smaller", "[sim][fault_timeline]") {
  const ClusterShape shape{.num_nodes = 7, .gpus_per_node = 3, .domain_size = 5};
  CHECK(shape.num_domains() == 5);
  const Fault fault{.component = 4, .blast_radius = BlastRadius::domain};
  CHECK(components_hit(fault, shape, BlastRadius::gpu) == ComponentRange{20, 1});
}

TEST_CASE("a timeline refuses impossible faults and clusters", "[sim][fault_timeline]") {
  const ClusterShape shape{.num_nodes = 2, .gpus_per_node = 4, .domain_size = 8};
  const SimTime day{86'400'000};
  const auto make = [&](Fault fault) { return make_fault_timeline(shape, day, {fault}); };
  CHECK_NOTHROW(make({.end = SimTime{5}, .component = 7}));
  CHECK_NOTHROW(make({.begin = SimTime{5}, .end = SimTime{5}}));
  CHECK_THROWS_AS(make({.begin = SimTime{6}, .end = SimTime{5}}), InvalidArgument);
  CHECK_THROWS_AS(make({.component = 8}), InvalidArgument);
  CHECK_THROWS_AS(make({.component = -1}), InvalidArgument);
  CHECK_THROWS_AS(make({.component = 2, .blast_radius = BlastRadius::node}), InvalidArgument);
  CHECK_THROWS_AS(make({.component = 1, .blast_radius = BlastRadius::domain}), InvalidArgument);
  CHECK_THROWS_AS(make_fault_timeline({0, 8, 8}, day, {}), InvalidArgument);
  CHECK_THROWS_AS(make_fault_timeline({1 << 28, 8, 8}, day, {}), InvalidArgument);
  CHECK_THROWS_AS(make_fault_timeline(shape, SimTime{-1}, {}), InvalidArgument);
}

static_assert(std::is_trivially_copyable_v<Fault> && sizeof(Fault) <= 32);
