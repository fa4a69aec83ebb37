#pragma once

#include "core/units.hpp"

#include <array>
#include <cstdint>

namespace runflat::sim {

/// Time of a collective inside one scale-up (NVLink) domain against its size and group:
///   t = latency + per_rank (n - 1) + ramp cbrt(bus / 1 MiB) + bus / bandwidth
/// where `bus` is what each rank sends: 2 (n - 1) / n of the tensor for an all-reduce. The cube
/// root is the protocol and pipeline-depth ramp between small and large messages; it holds the
/// published nccl-tests tables from 1 MiB to 16 GiB (tests/golden/nccl_all_reduce.txt).
struct CollectiveCurve {
  Seconds latency{};
  Seconds per_rank{};
  Seconds ramp{};
  BytesPerSecond bandwidth{};  ///< per GPU and direction, of a switched fabric
  /// A hybrid mesh has another bandwidth for every group size: entry n is that of n ranks, 0
  /// means `bandwidth`.
  std::array<double, 9> mesh_bandwidth{};
  /// Of a reduce-scatter or an all-gather, where they were measured: half_latency + bus /
  /// half_bandwidth, with `bus` (n - 1) / n of the tensor. 0: half of the all-reduce.
  Seconds half_latency{};
  BytesPerSecond half_bandwidth{};
};

/// The network between domains. Every GPU has its share of the NICs of its node.
struct NetworkParameters {
  BytesPerSecond nic_bandwidth{};  ///< per GPU and direction
  double efficiency = 1.0;         ///< share of it that a group with one GPU per domain reaches
  /// Further share of a group with all GPUs of its domains: its rings enter a node by one NIC and
  /// leave it by another.
  double whole_efficiency = 1.0;
  /// Further share of a group with several GPUs of a domain, not all: rings of neighbouring groups
  /// also meet at one NIC.
  double partial_efficiency = 1.0;
  Seconds latency{};  ///< of one message, and of one step of a tree
};

/// A process group: its size, and how many of its ranks share a domain of `domain_size` GPUs.
struct GroupShape {
  std::int64_t num_ranks = 1;
  std::int64_t ranks_per_domain = 1;
  std::int64_t domain_size = 8;

  [[nodiscard]] bool is_in_one_domain() const { return num_ranks <= ranks_per_domain; }
};

/// What connects the GPUs of a job.
struct Fabric {
  std::int64_t domain_size = 8;
  CollectiveCurve domain;
  NetworkParameters network;
};

/// The ranks of a group of `num_ranks` that are `stride` apart in the rank order.
[[nodiscard]] GroupShape strided_group(const Fabric& fabric,
                                       std::int64_t num_ranks,
                                       std::int64_t stride);

/// Rate at which one rank of the group sends while a ring runs.
[[nodiscard]] BytesPerSecond ring_bandwidth(const Fabric& fabric, const GroupShape& group);

/// All-reduce of a tensor of `tensor` bytes that every rank holds. 0 for one rank.
[[nodiscard]] Seconds all_reduce(const Fabric& fabric, const GroupShape& group, Bytes tensor);

/// Reduce-scatter of, or all-gather to, a tensor of `tensor` bytes: half an all-reduce.
[[nodiscard]] Seconds reduce_scatter(const Fabric& fabric, const GroupShape& group, Bytes tensor);

/// All-to-all where every rank holds `local` bytes, an equal part for each rank of the group.
[[nodiscard]] Seconds all_to_all(const Fabric& fabric, const GroupShape& group, Bytes local);

/// One message between two GPUs, inside a domain or across the network.
[[nodiscard]] Seconds send(const Fabric& fabric, bool in_one_domain, Bytes message);

}  // namespace runflat::sim
