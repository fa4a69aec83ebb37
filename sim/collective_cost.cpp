#include "sim/collective_cost.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace runflat::sim {
namespace {

constexpr double kMebibyte = 1048576.0;

double domain_bandwidth(const CollectiveCurve& curve, std::int64_t num_ranks) {
  const auto n = static_cast<std::size_t>(num_ranks);
  if (n < curve.mesh_bandwidth.size() && curve.mesh_bandwidth[n] > 0.0) {
    return curve.mesh_bandwidth[n];
  }
  return curve.bandwidth.value;
}

/// Time in which every rank of a group sends `bus` bytes around a ring.
Seconds ring(const Fabric& fabric, const GroupShape& group, double bus) {
  const auto n = static_cast<double>(group.num_ranks);
  if (!group.is_in_one_domain()) {
    return fabric.network.latency * std::log2(n) +
           Seconds(bus / ring_bandwidth(fabric, group).value);
  }
  const CollectiveCurve& curve = fabric.domain;
  return curve.latency + curve.per_rank * (n - 1.0) + curve.ramp * std::cbrt(bus / kMebibyte) +
         Seconds(bus / domain_bandwidth(curve, group.num_ranks));
}

}  // namespace

GroupShape strided_group(const Fabric& fabric, std::int64_t num_ranks, std::int64_t stride) {
  const std::int64_t here = std::max<std::int64_t>(1, fabric.domain_size / stride);
  return {num_ranks, std::min(num_ranks, here), fabric.domain_size};
}

BytesPerSecond ring_bandwidth(const Fabric& fabric, const GroupShape& group) {
  if (group.is_in_one_domain()) {
    return {domain_bandwidth(fabric.domain, group.num_ranks)};
  }
  const NetworkParameters& network = fabric.network;
  const bool is_alone = group.ranks_per_domain == 1;
  const bool is_whole = group.ranks_per_domain == group.domain_size;
  const double share = network.efficiency * (is_alone   ? 1.0
                                             : is_whole ? network.whole_efficiency
                                                        : network.partial_efficiency);
  const double rails =
      network.nic_bandwidth.value * share * static_cast<double>(group.ranks_per_domain);
  return {std::min(rails, fabric.domain.bandwidth.value)};
}

Seconds all_reduce(const Fabric& fabric, const GroupShape& group, Bytes tensor) {
  if (group.num_ranks <= 1) {
    return {};
  }
  const auto n = static_cast<double>(group.num_ranks);
  return ring(fabric, group, 2.0 * (n - 1.0) / n * tensor.value);
}

Seconds reduce_scatter(const Fabric& fabric, const GroupShape& group, Bytes tensor) {
  const CollectiveCurve& curve = fabric.domain;
  if (group.num_ranks > 1 && group.is_in_one_domain() && curve.half_bandwidth.value > 0.0) {
    const auto n = static_cast<double>(group.num_ranks);
    return curve.half_latency + Seconds((n - 1.0) / n * tensor.value / curve.half_bandwidth.value);
  }
  return all_reduce(fabric, group, tensor) * 0.5;
}

Seconds all_to_all(const Fabric& fabric, const GroupShape& group, Bytes local) {
  if (group.num_ranks <= 1) {
    return {};
  }
  const auto n = static_cast<double>(group.num_ranks);
  const double sent = (n - 1.0) / n * local.value;
  if (group.is_in_one_domain()) {
    return ring(fabric, group, sent);
  }
  const double outside = (n - static_cast<double>(group.ranks_per_domain)) / n * local.value;
  const NetworkParameters& network = fabric.network;
  return network.latency * std::log2(n) +
         Seconds(std::max(outside / (network.nic_bandwidth.value * network.efficiency),
                          sent / fabric.domain.bandwidth.value));
}

Seconds send(const Fabric& fabric, bool in_one_domain, Bytes message) {
  const double rate = in_one_domain
                          ? fabric.domain.bandwidth.value
                          : fabric.network.nic_bandwidth.value * fabric.network.efficiency;
  return fabric.network.latency + Seconds(message.value / rate);
}

}  // namespace runflat::sim
