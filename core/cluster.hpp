#pragma once

#include "core/id.hpp"
#include "core/reader.hpp"
#include "core/value.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace runflat {

/// GPUs in nodes in scale-up (NVLink) domains in racks, all of one kind and numbered in that order.
/// A domain is a whole number of nodes or divides a node; a rack is a whole number of domains.
/// Bandwidths and speeds belong to the hardware named by `gpu` (sim/hardware).
struct ClusterSpec {
  std::string gpu;  ///< hardware name: `h100`, `b200`, ...
  std::int64_t num_nodes = 1;
  std::int64_t gpus_per_node = 8;
  std::int64_t domain_size = 8;       ///< GPUs in one NVLink domain: the most that TP may span
  std::int64_t domains_per_rack = 1;  ///< domains behind one power budget

  [[nodiscard]] std::int64_t num_gpus() const { return num_nodes * gpus_per_node; }
  [[nodiscard]] std::int64_t num_domains() const { return num_gpus() / domain_size; }
  [[nodiscard]] NodeId node_of(GpuId gpu_id) const {
    return NodeId(gpu_id.value() / gpus_per_node);
  }
  [[nodiscard]] DomainId domain_of(GpuId gpu_id) const {
    return DomainId(gpu_id.value() / domain_size);
  }
  /// The GPUs `[first_gpu, first_gpu + domain_size)` of a domain start here.
  [[nodiscard]] GpuId first_gpu(DomainId domain) const {
    return GpuId(domain.value() * domain_size);
  }

  friend bool operator==(const ClusterSpec&, const ClusterSpec&) = default;
};

/// `[cluster]`: gpu, num_nodes, gpus_per_node, domain_size (default: the node), domains_per_rack.
[[nodiscard]] ClusterSpec read_cluster(const Reader& in);
[[nodiscard]] Value to_value(const ClusterSpec& cluster);

/// What is down at one moment.
class Health {
 public:
  Health() = default;
  /// Sorts and drops repetitions.
  explicit Health(std::vector<GpuId> down);

  [[nodiscard]] const std::vector<GpuId>& down() const { return down_; }
  [[nodiscard]] bool is_down(GpuId gpu) const;
  /// Failed GPUs of every domain, indexed by domain. Throws InvalidArgument for a GPU that the
  /// cluster does not have.
  [[nodiscard]] std::vector<std::int64_t> num_down_by_domain(const ClusterSpec& cluster) const;

  friend bool operator==(const Health&, const Health&) = default;

 private:
  std::vector<GpuId> down_;
};

}  // namespace runflat
