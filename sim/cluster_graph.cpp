#include "sim/cluster_graph.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace runflat::sim {
namespace {

using Id = ComponentGraph::Id;

/// The counts that tell one template from another; 0: has none.
struct Wiring {
  std::int32_t nics_per_node;
  std::int32_t nodes_per_leaf_group;
  std::int32_t num_spines;
  std::int32_t switches_per_node;    // that stop the tray
  std::int32_t switches_per_domain;  // that share its bandwidth
  std::int32_t nodes_per_feed;
  std::int32_t nodes_per_loop;
};

Wiring wiring_of(HardwareTemplate hardware, const ClusterShape& shape) {
  const std::int32_t nodes_per_domain = std::max(1, shape.domain_size / shape.gpus_per_node);
  switch (hardware) {
    case HardwareTemplate::generic:
      return {.nics_per_node = 1,
              .nodes_per_leaf_group = 16,
              .num_spines = 4,
              .switches_per_node = 0,
              .switches_per_domain = 0,
              .nodes_per_feed = 4,
              .nodes_per_loop = 0};
    case HardwareTemplate::dgx_h100:
      return {.nics_per_node = 8,
              .nodes_per_leaf_group = 32,
              .num_spines = 16,
              .switches_per_node = 4,
              .switches_per_domain = 0,
              .nodes_per_feed = 4,
              .nodes_per_loop = 32};
    case HardwareTemplate::gb200_nvl72:
      return {.nics_per_node = 4,
              .nodes_per_leaf_group = 8 * nodes_per_domain,
              .num_spines = 16,
              .switches_per_node = 0,
              .switches_per_domain = 9,
              .nodes_per_feed = nodes_per_domain,
              .nodes_per_loop = nodes_per_domain};
  }
  return {};
}

class Builder {
 public:
  Builder(HardwareTemplate hardware, const ClusterShape& shape)
      : shape_(shape), wiring_(wiring_of(hardware, shape)) {}

  ComponentGraph build() {
    add_nodes();
    add_groups(ComponentKind::power_feed, wiring_.nodes_per_feed, feeds_);
    std::vector<Id> loops;
    add_groups(ComponentKind::cooling_loop, wiring_.nodes_per_loop, loops);
    add_fabric();
    add_domain_switches();
    return std::move(graph_);
  }

 private:
  void add_nodes() {
    for (std::int32_t node = 0; node < shape_.num_nodes; ++node) {
      const Id host = graph_.add(ComponentKind::host);
      const Id tray = graph_.add(ComponentKind::tray);
      graph_.add_stop(host, tray);
      graph_.set_repair_scope(tray, host);
      for (std::int32_t i = 0; i < shape_.gpus_per_node; ++i) {
        const Id gpu = graph_.add(ComponentKind::gpu);
        graph_.add_stop(tray, gpu);
        graph_.set_repair_scope(gpu, host);
      }
      for (std::int32_t i = 0; i < wiring_.switches_per_node; ++i) {
        const Id nv_switch = graph_.add(ComponentKind::nv_switch);
        graph_.add_stop(nv_switch, tray);
        graph_.set_repair_scope(nv_switch, host);
      }
      for (std::int32_t i = 0; i < wiring_.nics_per_node; ++i) {
        const Id nic = graph_.add(ComponentKind::nic);
        graph_.add_share(nic, host, Resource::network, 1.0 / wiring_.nics_per_node);
        graph_.set_repair_scope(nic, host);
      }
      hosts_.push_back(host);
    }
  }

  /// One component that stops each run of `size` hosts.
  void add_groups(ComponentKind kind, std::int32_t size, std::vector<Id>& groups) {
    for (std::int32_t node = 0; size > 0 && node < shape_.num_nodes; ++node) {
      if (node % size == 0) {
        groups.push_back(graph_.add(kind));
      }
      graph_.add_stop(groups.back(), hosts_[static_cast<std::size_t>(node)]);
    }
  }

  /// A leaf switch for each rail (one for each NIC of a node) of each group, all on all spines.
  void add_fabric() {
    const std::int32_t size = wiring_.nodes_per_leaf_group;
    const std::vector<Id> nics = graph_.of_kind(ComponentKind::nic);
    std::vector<Id> leaves;
    for (std::size_t i = 0; i < nics.size(); ++i) {
      const auto rails = static_cast<std::size_t>(wiring_.nics_per_node);
      const std::size_t group = i / rails / static_cast<std::size_t>(size);
      while (leaves.size() < (group + 1) * rails) {
        leaves.push_back(graph_.add(ComponentKind::leaf_switch));
      }
      graph_.add_stop(leaves[group * rails + i % rails], nics[i]);
    }
    for (std::int32_t i = 0; shape_.num_nodes > size && i < wiring_.num_spines; ++i) {
      const Id spine = graph_.add(ComponentKind::spine_switch);
      for (const Id leaf : leaves) {
        graph_.add_share(spine, leaf, Resource::network, 1.0 / wiring_.num_spines);
      }
    }
  }

  void add_domain_switches() {
    if (wiring_.switches_per_domain == 0) {
      return;
    }
    const std::vector<Id> gpus = graph_.of_kind(ComponentKind::gpu);
    for (std::int32_t domain = 0; domain < shape_.num_domains(); ++domain) {
      const std::int32_t first = domain * shape_.domain_size;
      const std::int32_t last = std::min(first + shape_.domain_size, shape_.num_gpus());
      const std::int32_t node = first / shape_.gpus_per_node;
      const Id feed = feeds_[static_cast<std::size_t>(node / wiring_.nodes_per_feed)];
      for (std::int32_t i = 0; i < wiring_.switches_per_domain; ++i) {
        const Id nv_switch = graph_.add(ComponentKind::nv_switch);
        graph_.add_stop(feed, nv_switch);
        graph_.set_repair_scope(nv_switch, feed);
        for (std::int32_t gpu = first; gpu < last; ++gpu) {
          graph_.add_share(nv_switch,
                           gpus[static_cast<std::size_t>(gpu)],
                           Resource::nvlink,
                           1.0 / wiring_.switches_per_domain);
        }
      }
    }
  }

  const ClusterShape& shape_;
  Wiring wiring_;
  ComponentGraph graph_;
  std::vector<Id> hosts_;
  std::vector<Id> feeds_;
};

/// The first `num_gpus` GPUs as the largest components that they are.
CompiledComponent::Hit hit_of(std::size_t num_gpus, const ClusterShape& shape) {
  const auto num = static_cast<std::int32_t>(num_gpus);
  const bool all = num == shape.num_gpus();
  if (shape.domain_size > shape.gpus_per_node && (num % shape.domain_size == 0 || all)) {
    return {BlastRadius::domain, (num + shape.domain_size - 1) / shape.domain_size};
  }
  if (num % shape.gpus_per_node == 0) {
    return {BlastRadius::node, num / shape.gpus_per_node};
  }
  return {BlastRadius::gpu, num};
}

/// The slowest resource of the first GPU, which stands for all.
Slowness slowness_of(const Impact& impact) {
  const Speeds& speeds = impact.slow.front().speeds;
  const auto slowest = std::min_element(speeds.begin(), speeds.end());
  return {.resource = static_cast<Resource>(slowest - speeds.begin()), .speed = *slowest};
}

}  // namespace

ComponentGraph cluster_graph(HardwareTemplate hardware, const ClusterShape& shape) {
  require_valid(shape);
  return Builder(hardware, shape).build();
}

std::optional<CompiledComponent> compiled_component(const ComponentGraph& graph,
                                                    const ClusterShape& shape,
                                                    ComponentKind kind) {
  const std::vector<Id>& components = graph.of_kind(kind);
  if (components.empty()) {
    return std::nullopt;
  }
  const Impact failed = graph.impact({components.front()});
  const Impact repaired = graph.repair_impact(components.front());
  CompiledComponent result{
      .per_node = static_cast<double>(components.size()) / shape.num_nodes,
      .hit = hit_of(failed.down.empty() ? failed.slow.size() : failed.down.size(), shape),
      .slow = std::nullopt,
      .drained = std::nullopt};
  if (failed.down.empty()) {
    result.slow = slowness_of(failed);
  }
  if (repaired.down.size() > failed.down.size()) {
    result.drained = hit_of(repaired.down.size(), shape).blast_radius;
  }
  return result;
}

}  // namespace runflat::sim
