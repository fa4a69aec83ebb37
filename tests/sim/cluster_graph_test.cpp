#include "sim/cluster_graph.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "core/reader.hpp"
#include "core/value.hpp"
#include "sim/down_count.hpp"
#include "sim/failure_model.hpp"
#include "sim/fault_sampler.hpp"
#include "tests/catch.hpp"
#include "tests/sim/sample_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

const ClusterShape kDgx{.num_nodes = 64, .gpus_per_node = 8, .domain_size = 8};
const ClusterShape kNvl72{.num_nodes = 16 * 18, .gpus_per_node = 4, .domain_size = 72};

CompiledComponent compiled(HardwareTemplate hardware,
                           const ClusterShape& shape,
                           ComponentKind kind) {
  const auto found = compiled_component(cluster_graph(hardware, shape), shape, kind);
  REQUIRE(found);
  return *found;
}

CompiledComponent dgx(ComponentKind kind) {
  return compiled(HardwareTemplate::dgx_h100, kDgx, kind);
}
CompiledComponent nvl72(ComponentKind kind) {
  return compiled(HardwareTemplate::gb200_nvl72, kNvl72, kind);
}

FailureModel read(const std::string& toml, const ClusterShape& shape) {
  const Value value = parse_toml(toml, "f.toml");
  return read_failure_model(Reader{*value.find("failures"), "f.toml", "failures"}, shape);
}

std::string message(const std::string& toml, const ClusterShape& shape) {
  try {
    static_cast<void>(read(toml, shape));
  } catch (const ParseError& error) {
    return error.what();
  }
  return "";
}

std::string class_of(const std::string& hardware, const std::string& component) {
  return "[failures]\nhardware = '" + hardware +
         "'\n[[failures.class]]\nname = 'x'\ncomponent = '" + component +
         "'\nrepair = {kind = 'constant', value_hours = 10}\n";
}

}  // namespace

TEST_CASE("a DGX H100 cluster has its parts and their blast radii", "[sim][cluster_graph]") {
  using Hit = CompiledComponent::Hit;
  CHECK(dgx(ComponentKind::gpu).per_node == 8.0);
  CHECK(dgx(ComponentKind::gpu).hit == Hit{BlastRadius::gpu, 1});
  CHECK(dgx(ComponentKind::gpu).drained == BlastRadius::node);  // pulled with its host off
  CHECK(dgx(ComponentKind::nv_switch).per_node == 4.0);
  CHECK(dgx(ComponentKind::nv_switch).hit == Hit{BlastRadius::node, 1});
  CHECK(dgx(ComponentKind::host).hit == Hit{BlastRadius::node, 1});
  CHECK_FALSE(dgx(ComponentKind::host).drained);
  CHECK(dgx(ComponentKind::power_feed).hit == Hit{BlastRadius::node, 4});
  CHECK(dgx(ComponentKind::cooling_loop).hit == Hit{BlastRadius::node, 32});
  // One of 8 rails: an eighth of the network of its node, or of the 32 nodes of its leaf.
  const Slowness rail{.resource = Resource::network, .speed = 7.0 / 8.0};
  CHECK(dgx(ComponentKind::nic).slow == rail);
  CHECK(dgx(ComponentKind::nic).hit == Hit{BlastRadius::node, 1});
  CHECK(dgx(ComponentKind::nic).drained == BlastRadius::node);
  CHECK(dgx(ComponentKind::leaf_switch).slow == rail);
  CHECK(dgx(ComponentKind::leaf_switch).hit == Hit{BlastRadius::node, 32});
  CHECK(dgx(ComponentKind::leaf_switch).per_node == 0.25);
  CHECK_FALSE(dgx(ComponentKind::leaf_switch).drained);
  CHECK(dgx(ComponentKind::spine_switch).slow->speed == Approx(15.0 / 16.0));
  CHECK(dgx(ComponentKind::spine_switch).hit == Hit{BlastRadius::node, 64});
}

TEST_CASE("a GB200 NVL72 swaps trays alone and switch trays with the rack",
          "[sim][cluster_graph]") {
  using Hit = CompiledComponent::Hit;
  CHECK(nvl72(ComponentKind::gpu).hit == Hit{BlastRadius::gpu, 1});
  CHECK(nvl72(ComponentKind::gpu).drained == BlastRadius::node);
  CHECK(nvl72(ComponentKind::host).hit == Hit{BlastRadius::node, 1});
  const CompiledComponent switch_tray = nvl72(ComponentKind::nv_switch);
  CHECK(switch_tray.per_node == 0.5);  // 9 for 18 compute trays
  CHECK(switch_tray.hit == Hit{BlastRadius::domain, 1});
  CHECK(switch_tray.slow->resource == Resource::nvlink);
  CHECK(switch_tray.slow->speed == Approx(8.0 / 9.0));
  CHECK(switch_tray.drained == BlastRadius::domain);
  CHECK(nvl72(ComponentKind::power_feed).hit == Hit{BlastRadius::domain, 1});
  CHECK(nvl72(ComponentKind::leaf_switch).hit == Hit{BlastRadius::domain, 8});
}

TEST_CASE("a generic cluster has no NVSwitches, and one leaf cuts off its nodes",
          "[sim][cluster_graph]") {
  const ClusterShape shape{.num_nodes = 20, .gpus_per_node = 3, .domain_size = 3};
  const ComponentGraph graph = cluster_graph(HardwareTemplate::generic, shape);
  CHECK_FALSE(compiled_component(graph, shape, ComponentKind::nv_switch));
  const auto leaf = compiled_component(graph, shape, ComponentKind::leaf_switch);
  CHECK(leaf->hit == CompiledComponent::Hit{BlastRadius::node, 16});
  CHECK_FALSE(leaf->slow);
}

TEST_CASE("GPUs are numbered as in the cluster, whatever fails", "[sim][cluster_graph]") {
  const ComponentGraph graph = cluster_graph(HardwareTemplate::dgx_h100, kDgx);
  CHECK(graph.of_kind(ComponentKind::gpu).size() == 512);
  const std::vector<ComponentGraph::Id>& hosts = graph.of_kind(ComponentKind::host);
  for (std::size_t node = 0; node < hosts.size(); ++node) {
    std::vector<std::int32_t> gpus;
    for (std::int32_t i = 0; i < 8; ++i) {
      gpus.push_back(8 * static_cast<std::int32_t>(node) + i);
    }
    REQUIRE(graph.impact({hosts[node]}).down == gpus);
  }
}

TEST_CASE("a component of the hardware becomes a class of failures", "[sim][cluster_graph]") {
  // A rack fails every 100 days: 16 racks of 18 nodes.
  const FailureClass feed =
      read(class_of("gb200_nvl72", "power_feed") + "mtbf_days = 100", kNvl72).classes.at(0);
  CHECK(feed.blast_radius == BlastRadius::domain);
  CHECK(feed.rate_per_node_day == Approx(1.0 / 100 / 18));
  const FailureClass nic = read(class_of("dgx_h100", "nic") +
                                    "mtbf_days = 1000\nswap = {kind = 'constant', value_hours = 1}",
                                kDgx)
                               .classes.at(0);
  CHECK(nic.rate_per_node_day == Approx(8.0 / 1000));
  CHECK(nic.slow == Slowness{.resource = Resource::network, .speed = 7.0 / 8.0});
  CHECK(nic.drain == Drain{BlastRadius::node, Distribution::constant(Hours{1})});

  using Catch::Matchers::Contains;
  const std::string rate = "mtbf_days = 100\n";
  CHECK_THAT(message(class_of("dgx_h100", "disk") + rate, kDgx),
             Contains("f.toml: failures.class.0.component: "));
  CHECK_THAT(message(class_of("generic", "nv_switch") + rate, kDgx),
             Contains("expected a component that this hardware has"));
  CHECK_THAT(message(class_of("toaster", "gpu") + rate, kDgx),
             Contains("f.toml: failures.hardware: "));
  CHECK_THAT(
      message(class_of("dgx_h100", "host") + rate + "swap = {kind = 'constant', value_hours = 1}",
              kDgx),
      Contains("f.toml: failures.class.0.swap: expected no swap"));
  CHECK_THAT(message("[[failures.class]]\nname = 'x'\ncomponent = 'gpu'\n" + rate, kDgx),
             Contains("expected failures.hardware"));
  CHECK_THAT(message(class_of("dgx_h100", "nic") + rate + "slow = {speed = 0.5}", kDgx),
             Contains("expected no slow"));
}

TEST_CASE("a fault hits all nodes of its feed at once", "[sim][cluster_graph]") {
  // An infinite-server queue of racks: rate x repair x 4 nodes down on average, warmed up.
  const FailureModel model = read(
      "[failures]\nhardware = 'dgx_h100'\nwarm_up_days = 2\n[[failures.class]]\nname = 'feed'\n"
      "component = 'power_feed'\nmtbf_days = 50\n"
      "repair = {kind = 'constant', value_hours = 10}\n",
      kDgx);
  std::vector<double> means;
  for (std::uint32_t trial = 0; trial < 2000; ++trial) {
    const FaultTimeline timeline = sample_faults(model, kDgx, to_sim_time(Days{5}), 12, trial);
    REQUIRE(timeline.faults.size() % 4 == 0);
    for (std::size_t i = 0; i < timeline.faults.size(); i += 4) {
      REQUIRE(timeline.faults[i].component % 4 == 0);
      REQUIRE(timeline.faults[i + 3].component == timeline.faults[i].component + 3);
      REQUIRE(timeline.faults[i + 3].begin == timeline.faults[i].begin);
    }
    means.push_back(DownCount{timeline, BlastRadius::node}.mean());
  }
  // Of 16 racks each is down with probability 1 - exp(-10 h / 50 d), overlaps counted once.
  const double expected = 64.0 * (1.0 - std::exp(-10.0 / 24.0 / 50.0));
  CHECK(estimate(means).agrees_with(expected));
}

TEST_CASE("the end of a repair drains the node around the component", "[sim][cluster_graph]") {
  const FailureModel model =
      read(class_of("dgx_h100", "gpu") +
               "mtbf_days = 500\nswap = {kind = 'constant', value_hours = 2}\n",
           kDgx);
  const FaultTimeline timeline = sample_faults(model, kDgx, to_sim_time(Days{30}), 13, 0);
  std::size_t num_drains = 0;
  for (const Fault& drain : timeline.faults) {
    if (drain.blast_radius != BlastRadius::node) {
      continue;
    }
    ++num_drains;
    CHECK(drain.detection == Detection::planned);
    CHECK(drain.end - drain.begin == to_sim_time(Hours{2}));
    CHECK(std::any_of(timeline.faults.begin(), timeline.faults.end(), [&](const Fault& fault) {
      return fault.blast_radius == BlastRadius::gpu && fault.end == drain.end &&
             fault.component / 8 == drain.component;
    }));
  }
  CHECK(num_drains > 20);

  // A slow component is drained too, when a degraded switch tray is swapped with its rack.
  const FailureModel tray =
      read(class_of("gb200_nvl72", "nv_switch") +
               "mtbf_days = 100\nswap = {kind = 'constant', value_hours = 3}\n",
           kNvl72);
  const FaultTimeline of_tray = sample_faults(tray, kNvl72, to_sim_time(Days{30}), 13, 0);
  REQUIRE_FALSE(of_tray.slowdowns.empty());
  REQUIRE_FALSE(of_tray.faults.empty());
  for (const Fault& drain : of_tray.faults) {
    CHECK(drain.blast_radius == BlastRadius::domain);
    CHECK(drain.detection == Detection::planned);
  }
}
