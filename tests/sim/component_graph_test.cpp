#include "sim/component_graph.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <utility>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

using Id = ComponentGraph::Id;

/// A random graph without circles whose edges all stop, and the same edges as a list.
struct RandomGraph {
  ComponentGraph graph;
  std::vector<std::pair<Id, Id>> edges;

  explicit RandomGraph(unsigned seed) {
    std::mt19937 generator{seed};
    constexpr unsigned kComponents = 40;
    for (unsigned i = 0; i < kComponents; ++i) {
      graph.add(generator() % 2 == 0 ? ComponentKind::gpu : ComponentKind::host);
    }
    for (unsigned i = 0; i < 60; ++i) {
      const Id a = static_cast<Id>(generator() % kComponents);
      const Id b = static_cast<Id>(generator() % kComponents);
      if (a != b) {
        edges.emplace_back(std::min(a, b), std::max(a, b));
        graph.add_stop(edges.back().first, edges.back().second);
      }
    }
  }

  /// The GPUs that `failed` reaches, by repeated passes over the edges.
  [[nodiscard]] std::vector<std::int32_t> reached(std::vector<Id> failed) const {
    std::set<Id> dead(failed.begin(), failed.end());
    for (std::size_t size = 0; size != dead.size();) {
      size = dead.size();
      for (const auto& [from, to] : edges) {
        if (dead.contains(from)) {
          dead.insert(to);
        }
      }
    }
    const std::vector<Id>& gpus = graph.of_kind(ComponentKind::gpu);
    std::vector<std::int32_t> numbers;
    for (std::size_t i = 0; i < gpus.size(); ++i) {
      if (dead.contains(gpus[i])) {
        numbers.push_back(static_cast<std::int32_t>(i));
      }
    }
    return numbers;
  }
};

}  // namespace

TEST_CASE("a failure takes down exactly the GPUs that it reaches", "[sim][component_graph]") {
  for (unsigned seed = 0; seed < 200; ++seed) {
    const RandomGraph random{seed};
    for (const std::vector<Id>& failed :
         {std::vector<Id>{0}, std::vector<Id>{3}, std::vector<Id>{1, 7, 7}, std::vector<Id>{}}) {
      const Impact impact = random.graph.impact(failed);
      REQUIRE(impact.down == random.reached(failed));
      REQUIRE(impact.slow.empty());
    }
  }
}

TEST_CASE("shares of a resource add up, are handed on, and stop a GPU when all are gone",
          "[sim][component_graph]") {
  // Two spines carry half of a leaf each, the leaf one of two NICs, the NIC half of the host.
  ComponentGraph graph;
  const Id host = graph.add(ComponentKind::host);
  const Id gpu = graph.add(ComponentKind::gpu);
  graph.add_stop(host, gpu);
  std::vector<Id> nics;
  for (int i = 0; i < 2; ++i) {
    nics.push_back(graph.add(ComponentKind::nic));
    graph.add_share(nics.back(), host, Resource::network, 0.5);
  }
  const Id leaf = graph.add(ComponentKind::leaf_switch);
  graph.add_stop(leaf, nics[0]);
  std::vector<Id> spines;
  for (int i = 0; i < 2; ++i) {
    spines.push_back(graph.add(ComponentKind::spine_switch));
    graph.add_share(spines.back(), leaf, Resource::network, 0.5);
  }
  const auto network_of = [&](const std::vector<Id>& failed) {
    const Impact impact = graph.impact(failed);
    CHECK(impact.down.size() + impact.slow.size() == 1);
    return impact.slow.empty() ? 0.0 : impact.slow[0].speeds[1];
  };
  CHECK(network_of({nics[1]}) == Approx(0.5));
  CHECK(network_of({leaf}) == Approx(0.5));
  CHECK(network_of({spines[0]}) == Approx(0.75));  // 1 - 0.5 x (1 - 0.5)
  CHECK(network_of({spines[0], spines[1]}) == Approx(0.5));
  CHECK(network_of({spines[0], nics[1]}) == Approx(0.25));
  CHECK(network_of({leaf, nics[1]}) == 0.0);
  CHECK(network_of({nics[0], nics[1]}) == 0.0);
  CHECK(network_of({host}) == 0.0);
  CHECK(graph.impact({nics[0]}).slow[0].speeds == Speeds{1.0, 0.5, 1.0});
}

TEST_CASE("a repair takes down the scope as well", "[sim][component_graph]") {
  ComponentGraph graph;
  const Id host = graph.add(ComponentKind::host);
  const Id first = graph.add(ComponentKind::gpu);
  graph.add_stop(host, first);
  graph.add_stop(host, graph.add(ComponentKind::gpu));
  graph.set_repair_scope(first, host);
  CHECK(graph.impact({first}).down == std::vector<std::int32_t>{0});
  CHECK(graph.repair_impact(first).down == std::vector<std::int32_t>{0, 1});
  CHECK(graph.repair_impact(host) == graph.impact({host}));
}

TEST_CASE("circles, unknown components and impossible shares are refused",
          "[sim][component_graph]") {
  ComponentGraph graph;
  const Id a = graph.add(ComponentKind::host);
  const Id b = graph.add(ComponentKind::tray);
  graph.add_stop(a, b);
  CHECK_THROWS_AS(graph.add_stop(a, 2), InvalidArgument);
  CHECK_THROWS_AS(graph.impact({2}), InvalidArgument);
  CHECK_THROWS_AS(graph.add_share(a, b, Resource::compute, 0.0), InvalidArgument);
  CHECK_THROWS_AS(graph.add_share(a, b, Resource::compute, 1.5), InvalidArgument);
  graph.add_stop(b, a);
  CHECK_THROWS_AS(graph.impact({a}), InvalidArgument);
}
