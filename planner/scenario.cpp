#include "planner/scenario.hpp"

#include "sim/span_reader.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <limits>

namespace runflat::planner {
namespace {

constexpr std::int64_t kSchema = 1;

PowerSpec read_power(const Reader& in) {
  const auto multiple = [](const Reader& item) { return item.number(1.0, 2.0); };
  ObjectReader members = in.object();
  PowerSpec power;
  power.max_boost = read_or(members, "max_boost", power.max_boost, multiple);
  power.rack_headroom = read_or(members, "rack_headroom", power.rack_headroom, multiple);
  members.finish();
  return power;
}

std::vector<ReducedReplica> read_reduced_replicas(const Reader& in, const Scenario& scenario) {
  std::vector<ReducedReplica> replicas;
  for (const Reader& item : in.items()) {
    ObjectReader members = item.object();
    ReducedReplica replica;
    replica.tp = members.at("tp_size").integer(1, scenario.layout.tp - 1);
    replica.num_microbatches =
        members.at("num_microbatches").integer(1, scenario.num_microbatches());
    if (const std::optional<Reader> power = members.find("power")) {
      replica.power = power->number(1.0, 2.0);
    }
    members.finish();
    replicas.push_back(replica);
  }
  return replicas;
}

std::array<std::int64_t, kAllPolicies.size()> read_policies(const Reader& in) {
  ObjectReader members = in.object();
  std::array<std::int64_t, kAllPolicies.size()> spares{};
  for (const PolicyKind policy : kAllPolicies) {
    if (const std::optional<Reader> table = members.find(to_string(policy))) {
      ObjectReader settings = table->object();
      spares[static_cast<std::size_t>(policy)] = settings.at("spare_domains").integer(0, 1 << 20);
      settings.finish();
    }
  }
  members.finish();
  return spares;
}

void check_layout(const Scenario& scenario, const Reader& in) {
  const ClusterSpec& cluster = scenario.cluster;
  const ParallelSizes& layout = scenario.layout;
  if (layout.tp > cluster.domain_size) {
    in.reject(
        fmt::format("tensor_model_parallel_size {} is larger than the NVLink domain of {} GPUs",
                    layout.tp,
                    cluster.domain_size));
  }
  const std::int64_t sites = cluster.num_domains() * scenario.sites_per_domain();
  if (scenario.num_job_sites() > sites) {
    in.reject(fmt::format(
        "cp {} * pp {} * dp {} = {} TP groups, and the cluster has room for {} of {} GPUs",
        layout.cp,
        layout.pp,
        layout.dp,
        scenario.num_job_sites(),
        sites,
        layout.tp));
  }
}

void check_model(const Scenario& scenario, const Reader& in) {
  const ModelSpec& model = scenario.model;
  const ParallelSizes& layout = scenario.layout;
  if (model.num_attention_heads % layout.tp != 0) {
    in.reject(
        fmt::format("num_attention_heads {} is not divisible by tensor_model_parallel_size {}",
                    model.num_attention_heads,
                    layout.tp));
  }
  if (model.num_query_groups % layout.tp != 0 && layout.tp % model.num_query_groups != 0) {
    in.reject(
        fmt::format("num_query_groups {} and tensor_model_parallel_size {}: one must divide "
                    "the other",
                    model.num_query_groups,
                    layout.tp));
  }
  if (layout.pp * layout.vpp > model.num_layers + 2) {  // embedding and output may stand alone
    in.reject(fmt::format("pp {} * vpp {} stages are more than num_layers {}",
                          layout.pp,
                          layout.vpp,
                          model.num_layers));
  }
  if (model.num_experts > 0 && model.num_experts % layout.ep != 0) {
    in.reject(fmt::format("num_experts {} is not divisible by expert_model_parallel_size {}",
                          model.num_experts,
                          layout.ep));
  }
}

void check_batch(const Scenario& scenario, const Reader& in) {
  const std::int64_t slice = scenario.training.micro_batch_size * scenario.layout.dp;
  if (scenario.training.global_batch_size % slice != 0) {
    in.reject(fmt::format(
        "global_batch_size {} is not divisible by micro_batch_size {} * data_parallel_size {}",
        scenario.training.global_batch_size,
        scenario.training.micro_batch_size,
        scenario.layout.dp));
  }
}

}  // namespace

std::int64_t Scenario::most_spares() const {
  return *std::max_element(spare_domains.begin(), spare_domains.end());
}

sim::ClusterShape Scenario::shape_with_spares(std::int64_t num_spare_domains) const {
  const std::int64_t gpus = cluster.num_gpus() + num_spare_domains * cluster.domain_size;
  const std::int64_t nodes = (gpus + cluster.gpus_per_node - 1) / cluster.gpus_per_node;
  return {.num_nodes = static_cast<std::int32_t>(nodes),
          .gpus_per_node = static_cast<std::int32_t>(cluster.gpus_per_node),
          .domain_size = static_cast<std::int32_t>(cluster.domain_size)};
}

sim::SiteShape Scenario::site_shape(PolicyKind policy) const {
  return {.cluster = shape_with_spares(spares_of(policy)),
          .tp = static_cast<std::int32_t>(layout.tp),
          .num_job_sites = static_cast<std::int32_t>(num_job_sites())};
}

Scenario read_scenario(const Reader& in) {
  ObjectReader members = in.object();
  const Reader schema = members.at("schema");
  if (schema.integer() != kSchema) {
    schema.fail(fmt::format("schema {}", kSchema));
  }
  Scenario scenario;
  scenario.name = members.at("name").text();
  scenario.description = members.at("description").text();
  const Reader cluster = members.at("cluster");
  scenario.cluster = read_cluster(cluster);
  scenario.software_release = read_or(members, "software_release", std::string(), &Reader::text);
  const Reader model = members.at("model");
  scenario.model = read_model(model);
  const Reader layout = members.at("layout");
  scenario.layout = read_sizes(layout);
  const Reader training = members.at("training");
  scenario.training = read_training(training);
  scenario.duration = sim::read_positive_span(members, "duration");
  if (scenario.duration < Hours{1.0} || scenario.duration > Days{36500.0}) {
    in.reject("the duration must be from an hour to a hundred years");
  }
  scenario.failures =
      sim::read_failure_model(members.at("failures"), scenario.shape_with_spares(0));
  scenario.checkpoint = read_or(members, "checkpoint", CheckpointSpec{}, read_checkpoint);
  scenario.recovery = read_or(members, "recovery", RecoverySpec{}, read_recovery);
  scenario.power = read_or(members, "power", PowerSpec{}, read_power);
  scenario.spare_domains = read_or(members, "policies", scenario.spare_domains, read_policies);
  scenario.usd_per_gpu_hour = read_or(
      members, "usd_per_gpu_hour", 0.0, [](const Reader& item) { return item.number(0.0); });
  const std::optional<Reader> reduced = members.find("reduced_replica");
  members.finish();
  check_layout(scenario, layout);
  check_model(scenario, layout);
  check_batch(scenario, training);
  if (reduced) {
    scenario.reduced_replicas = read_reduced_replicas(*reduced, scenario);
  }
  return scenario;
}

}  // namespace runflat::planner
