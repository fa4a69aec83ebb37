#pragma once

#include "sim/component_graph.hpp"
#include "sim/failure_process.hpp"
#include "sim/fault_timeline.hpp"

#include <cstdint>
#include <optional>

namespace runflat::sim {

/// How nodes are built and wired.
///  - generic: a node is a host with its GPUs on one tray and one NIC; 16 nodes on a leaf switch, 4
///    spines, a power feed for every 4 nodes. Repairs take the host down.
///  - dgx_h100: a host, one tray of GPUs and 4 NVSwitches (a dead switch stops the tray), one NIC
///    per rail of 8; 32 nodes on the 8 rail leaf switches of a scalable unit and on one cooling
///    loop, 16 spines, a power feed for every 4 nodes. Repairs take the host down.
///  - gb200_nvl72: a node is a compute tray with its host and 4 NICs, an NVLink domain is a rack
///  with
///    its own feed and cooling loop and 9 NVLink switch trays, each a ninth of the NVLink
///    bandwidth; 8 racks on 4 leaf switches, 16 spines. A compute tray is swapped without draining
///    the rack, a switch tray with it (reference: NVL72 service times, 1-4 h each).
/// One feed per group, no redundancy. Spines only where there are several groups of leaves.
enum class HardwareTemplate : std::uint8_t { generic, dgx_h100, gb200_nvl72 };

/// The graph of a whole cluster. GPUs, nodes and domains are numbered as in ClusterShape.
[[nodiscard]] ComponentGraph cluster_graph(HardwareTemplate hardware, const ClusterShape& shape);

/// What samplers and timelines need to know of one kind of component: what the failure of one takes
/// down or slows, as `together` adjacent GPUs, nodes or domains, and what its repair drains.
struct CompiledComponent {
  struct Hit {
    BlastRadius blast_radius = BlastRadius::gpu;
    std::int32_t together = 1;

    friend bool operator==(const Hit&, const Hit&) = default;
  };

  double per_node = 0.0;  ///< components for each node of the cluster
  Hit hit;
  std::optional<Slowness> slow;        ///< slower while failed; none: down
  std::optional<BlastRadius> drained;  ///< by the repair, where that is more than what is down
};

/// Compiled from the cluster_graph() of this shape, by the first component of the kind; none where
/// there is none.
[[nodiscard]] std::optional<CompiledComponent> compiled_component(const ComponentGraph& graph,
                                                                  const ClusterShape& shape,
                                                                  ComponentKind kind);

}  // namespace runflat::sim
