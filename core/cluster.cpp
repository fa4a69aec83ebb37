#include "core/cluster.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace runflat {

ClusterSpec read_cluster(const Reader& in) {
  constexpr std::int64_t kMost = 1 << 24;
  const auto count = [](const Reader& item) { return item.integer(1, kMost); };
  ObjectReader members = in.object();
  ClusterSpec cluster;
  cluster.gpu = members.at("gpu").text();
  cluster.num_nodes = count(members.at("num_nodes"));
  cluster.gpus_per_node = read_or(members, "gpus_per_node", cluster.gpus_per_node, count);
  cluster.domain_size = read_or(members, "domain_size", cluster.gpus_per_node, count);
  cluster.domains_per_rack = read_or(members, "domains_per_rack", cluster.domains_per_rack, count);
  members.finish();
  if (cluster.num_gpus() > kMost) {
    in.reject(fmt::format("{} GPUs, expected at most {}", cluster.num_gpus(), kMost));
  }
  const std::int64_t larger = std::max(cluster.domain_size, cluster.gpus_per_node);
  const std::int64_t smaller = std::min(cluster.domain_size, cluster.gpus_per_node);
  if (larger % smaller != 0) {
    in.reject(fmt::format("domain_size {} and gpus_per_node {}: one must divide the other",
                          cluster.domain_size,
                          cluster.gpus_per_node));
  }
  if (cluster.num_gpus() % (cluster.domain_size * cluster.domains_per_rack) != 0) {
    in.reject(fmt::format("{} GPUs do not fill racks of {} domains of {} GPUs",
                          cluster.num_gpus(),
                          cluster.domains_per_rack,
                          cluster.domain_size));
  }
  return cluster;
}

Value to_value(const ClusterSpec& cluster) {
  return Value::Object{{"gpu", cluster.gpu},
                       {"num_nodes", cluster.num_nodes},
                       {"gpus_per_node", cluster.gpus_per_node},
                       {"domain_size", cluster.domain_size},
                       {"domains_per_rack", cluster.domains_per_rack}};
}

Health::Health(std::vector<GpuId> down) : down_(std::move(down)) {
  std::sort(down_.begin(), down_.end());
  down_.erase(std::unique(down_.begin(), down_.end()), down_.end());
}

bool Health::is_down(GpuId gpu) const {
  return std::binary_search(down_.begin(), down_.end(), gpu);
}

std::vector<std::int64_t> Health::num_down_by_domain(const ClusterSpec& cluster) const {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(cluster.num_domains()), 0);
  for (const GpuId gpu : down_) {
    require(
        gpu.value() >= 0 && gpu.value() < cluster.num_gpus(),
        fmt::format("gpu{} is not one of the cluster's {} GPUs", gpu.value(), cluster.num_gpus()));
    ++counts[cluster.domain_of(gpu).index()];
  }
  return counts;
}

}  // namespace runflat
