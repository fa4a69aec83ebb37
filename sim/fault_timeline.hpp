#pragma once

#include "sim/sim_time.hpp"

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace runflat::sim {

/// What one fault takes down together. `job` is a software fault: the job stops, no hardware is
/// down.
enum class BlastRadius : std::uint8_t { gpu, node, domain, job };
inline constexpr std::size_t kNumBlastRadii = 4;

/// How a fault shows: the process dies, or it hangs until somebody's patience ends: a watchdog's,
/// or only the collectives' own timeout; planned work is announced, so the job can get ready.
enum class Detection : std::uint8_t { crash, hang, planned, timeout };

/// What a component that is slow, not down, has less of.
enum class Resource : std::uint8_t { compute, network, nvlink };
inline constexpr std::size_t kNumResources = 3;

[[nodiscard]] std::string_view to_string(BlastRadius radius);
[[nodiscard]] std::string_view to_string(Detection detection);
[[nodiscard]] std::string_view to_string(Resource resource);

/// The components that faults hit: GPUs numbered through nodes in order, nodes of equal size,
/// NVLink domains of `domain_size` consecutive GPUs (smaller, equal or larger than a node).
struct ClusterShape {
  std::int32_t num_nodes = 0;
  std::int32_t gpus_per_node = 0;
  std::int32_t domain_size = 0;

  [[nodiscard]] std::int32_t num_gpus() const { return num_nodes * gpus_per_node; }
  /// The last domain may be smaller than `domain_size`.
  [[nodiscard]] std::int32_t num_domains() const {
    return (num_gpus() + domain_size - 1) / domain_size;
  }
  /// How many components of this radius there are; 1 for `job`.
  [[nodiscard]] std::int32_t num_components(BlastRadius radius) const;

  friend bool operator==(const ClusterShape&, const ClusterShape&) = default;
};

/// Throws InvalidArgument unless every count is positive and the number of GPUs fits.
void require_valid(const ClusterShape& shape);

/// A half-open range [first, first + num) of components of one kind.
struct ComponentRange {
  std::int32_t first = 0;
  std::int32_t num = 0;

  friend bool operator==(const ComponentRange&, const ComponentRange&) = default;
};

/// One failure and its repair: down during the half-open span [begin, end). Silent corruption began
/// `silent_for` before it was found at `begin`: the work and the checkpoints since are worthless.
struct Fault {
  SimTime begin{};
  SimTime end{};                 ///< kNever where the trace does not know
  std::int32_t component = 0;    ///< GPU, node or domain number, by blast radius; 0 for `job`
  std::int32_t class_index = 0;  ///< into the class names of the model or trace
  BlastRadius blast_radius = BlastRadius::gpu;
  Detection detection = Detection::crash;
  std::chrono::duration<std::int32_t> silent_for{};  ///< whole seconds, at least zero

  friend auto operator<=>(const Fault&, const Fault&) = default;
};

/// A component that works on, slower, during the half-open span [begin, end).
struct Slowdown {
  SimTime begin{};
  SimTime end{};
  std::int32_t component = 0;
  std::int32_t class_index = 0;
  BlastRadius blast_radius = BlastRadius::gpu;
  Resource resource = Resource::compute;
  double speed = 1.0;  ///< of the healthy speed, 0 < speed <= 1; those that overlap multiply

  friend auto operator<=>(const Slowdown&, const Slowdown&) = default;
};

/// The GPUs, or the nodes or domains any part of which, a fault takes down; empty for a `job`
/// fault, as for `level` `job`.
[[nodiscard]] ComponentRange components_hit(const Fault& fault,
                                            const ClusterShape& shape,
                                            BlastRadius level);

/// Everything that fails during one trial, in the order of `begin` (ties by the other fields, so
/// the order is a function of the contents).
///
/// A fault may hit a component that is already down: it stays in the list, and the component is
/// down until the latest of the ends (health is the union of the spans). It interrupts nothing new.
/// Faults of the warm-up have a negative `begin`: they are down when the job starts and interrupt
/// nothing. A fault may end after `duration`.
struct FaultTimeline {
  ClusterShape shape;
  SimTime duration{};
  std::vector<Fault> faults;
  std::vector<Slowdown> slowdowns{};  ///< in order, like the faults

  friend bool operator==(const FaultTimeline&, const FaultTimeline&) = default;
};

/// Sorts `faults` and `slowdowns` and checks them: each ends no earlier than it begins, and hits a
/// component that exists. Throws InvalidArgument otherwise.
[[nodiscard]] FaultTimeline make_fault_timeline(const ClusterShape& shape,
                                                SimTime duration,
                                                std::vector<Fault> faults,
                                                std::vector<Slowdown> slowdowns = {});

}  // namespace runflat::sim
