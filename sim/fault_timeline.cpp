#include "sim/fault_timeline.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace runflat::sim {
namespace {

ComponentRange gpus_hit(const Fault& fault, const ClusterShape& shape) {
  switch (fault.blast_radius) {
    case BlastRadius::gpu:
      return {fault.component, 1};
    case BlastRadius::node:
      return {fault.component * shape.gpus_per_node, shape.gpus_per_node};
    case BlastRadius::domain: {
      const std::int32_t first = fault.component * shape.domain_size;
      return {first, std::min(shape.domain_size, shape.num_gpus() - first)};
    }
    case BlastRadius::job:
      return {};
  }
  return {};
}

/// The groups of `group_size` that `range`, which is not empty, touches.
ComponentRange groups_of(ComponentRange range, std::int32_t group_size) {
  const std::int32_t first = range.first / group_size;
  const std::int32_t last = (range.first + range.num - 1) / group_size;
  return {first, last - first + 1};
}

/// Of a fault or a slowdown.
template <typename Hit>
void require_valid_hit(const Hit& hit, const ClusterShape& shape) {
  require(hit.begin <= hit.end, "a fault must not end before it begins");
  require(hit.component >= 0 && hit.component < shape.num_components(hit.blast_radius),
          "a fault must hit a component of the cluster");
}

template <typename Hit>
void sort_unless_sorted(std::vector<Hit>& hits) {
  if (!std::is_sorted(hits.begin(), hits.end())) {
    std::sort(hits.begin(), hits.end());
  }
}

}  // namespace

std::string_view to_string(BlastRadius radius) {
  switch (radius) {
    case BlastRadius::gpu:
      return "gpu";
    case BlastRadius::node:
      return "node";
    case BlastRadius::domain:
      return "domain";
    case BlastRadius::job:
      return "job";
  }
  return "";
}

std::string_view to_string(Detection detection) {
  switch (detection) {
    case Detection::crash:
      return "crash";
    case Detection::hang:
      return "hang";
    case Detection::planned:
      return "planned";
    case Detection::timeout:
      return "timeout";
  }
  return "";
}

std::string_view to_string(Resource resource) {
  switch (resource) {
    case Resource::compute:
      return "compute";
    case Resource::network:
      return "network";
    case Resource::nvlink:
      return "nvlink";
  }
  return "";
}

std::int32_t ClusterShape::num_components(BlastRadius radius) const {
  switch (radius) {
    case BlastRadius::gpu:
      return num_gpus();
    case BlastRadius::node:
      return num_nodes;
    case BlastRadius::domain:
      return num_domains();
    case BlastRadius::job:
      return 1;
  }
  return 0;
}

void require_valid(const ClusterShape& shape) {
  require(shape.num_nodes > 0 && shape.gpus_per_node > 0 && shape.domain_size > 0,
          "a cluster needs nodes, GPUs and domains");
  const std::int64_t num_gpus = std::int64_t{shape.num_nodes} * shape.gpus_per_node;
  require(num_gpus + shape.domain_size <= std::numeric_limits<std::int32_t>::max(),
          "a cluster has at most 2^31 GPUs");
}

ComponentRange components_hit(const Fault& fault, const ClusterShape& shape, BlastRadius level) {
  const ComponentRange gpus = gpus_hit(fault, shape);
  if (gpus.num == 0) {
    return {};
  }
  switch (level) {
    case BlastRadius::gpu:
      return gpus;
    case BlastRadius::node:
      return groups_of(gpus, shape.gpus_per_node);
    case BlastRadius::domain:
      return groups_of(gpus, shape.domain_size);
    case BlastRadius::job:
      return {};
  }
  return {};
}

FaultTimeline make_fault_timeline(const ClusterShape& shape,
                                  SimTime duration,
                                  std::vector<Fault> faults,
                                  std::vector<Slowdown> slowdowns) {
  require_valid(shape);
  require(duration >= SimTime::zero(), "a timeline needs a duration of at least zero");
  for (const Fault& fault : faults) {
    require_valid_hit(fault, shape);
    require(fault.silent_for.count() >= 0, "a fault is found no earlier than it happens");
  }
  for (const Slowdown& slowdown : slowdowns) {
    require_valid_hit(slowdown, shape);
    require(slowdown.speed > 0.0 && slowdown.speed <= 1.0, "a speed lies between 0 and 1");
  }
  sort_unless_sorted(faults);
  sort_unless_sorted(slowdowns);
  return {shape, duration, std::move(faults), std::move(slowdowns)};
}

}  // namespace runflat::sim
