#pragma once

#include "sim/fault_timeline.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace runflat::sim {

/// What a cluster is built of. A tray is what is pulled out to change a GPU: a baseboard of 8 or
/// a compute tray.
enum class ComponentKind : std::uint8_t {
  gpu,
  tray,
  host,
  nic,
  nv_switch,
  leaf_switch,
  spine_switch,
  power_feed,
  cooling_loop,
};
inline constexpr std::size_t kNumComponentKinds = 9;

[[nodiscard]] std::string_view to_string(ComponentKind kind);

/// By Resource, as a fraction of the healthy speed.
using Speeds = std::array<double, kNumResources>;
inline constexpr Speeds kFullSpeed{1.0, 1.0, 1.0};

/// What a set of failed components does to the GPUs: which are down, and which go on slower.
struct Impact {
  struct SlowGpu {
    std::int32_t gpu = 0;
    Speeds speeds = kFullSpeed;

    friend bool operator==(const SlowGpu&, const SlowGpu&) = default;
  };

  std::vector<std::int32_t> down;  ///< ascending
  std::vector<SlowGpu> slow;       ///< ascending, none of them down

  friend bool operator==(const Impact&, const Impact&) = default;
};

/// Components and what each needs, and what their repair takes down. A component that `stops`
/// another takes it down with it, and hands on its own slowness; one that carries a `share` of a
/// resource of another slows it by that share of what it lost itself. Hence, with failed components
/// at speed zero, for every resource
///   speed(c) = min over stoppers p of speed(p) x (1 - sum over carriers q of share x (1 -
///   speed(q)))
/// and a GPU is down where any of its speeds is zero. So a failure reaches exactly the components
/// that the graph reaches from it, and nothing else is looked at.
class ComponentGraph {
 public:
  using Id = std::uint32_t;

  ComponentGraph();
  ~ComponentGraph();
  ComponentGraph(ComponentGraph&&) noexcept;
  ComponentGraph& operator=(ComponentGraph&&) noexcept;

  /// GPUs are numbered in the order in which they are added.
  Id add(ComponentKind kind);
  /// `dependent` stops when `provider` does.
  void add_stop(Id provider, Id dependent);
  /// `provider` carries this share, above 0 and up to 1, of what `dependent` has of the resource.
  void add_share(Id provider, Id dependent, Resource resource, double share);

  [[nodiscard]] std::size_t num_components() const;
  [[nodiscard]] ComponentKind kind(Id component) const;
  /// Those of one kind, in the order in which they were added.
  [[nodiscard]] const std::vector<Id>& of_kind(ComponentKind kind) const;

  /// Throws InvalidArgument where components need each other in a circle.
  [[nodiscard]] Impact impact(const std::vector<Id>& failed) const;

  /// To repair `component` this one is taken down too: the host of a NIC, the rack of a switch
  /// tray.
  void set_repair_scope(Id component, Id scope);
  /// While it is being repaired; impact({component}) where no scope was set.
  [[nodiscard]] Impact repair_impact(Id component) const;

 private:
  struct Data;
  std::unique_ptr<Data> data_;
};

}  // namespace runflat::sim
