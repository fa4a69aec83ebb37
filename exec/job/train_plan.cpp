#include "exec/job/train_plan.hpp"

#include "core/document.hpp"
#include "core/megatron_config.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>
#include <optional>
#include <string>

namespace runflat::exec {
namespace {

constexpr std::int64_t kMostSpareDomains = 1 << 20;

std::int64_t smallest_tp(const ParallelLayout& layout, DpRank replica) {
  std::int64_t tp = layout.sizes().tp;
  for (std::size_t cell = 0; cell < layout.cells().size(); ++cell) {
    if (layout.cell_id(cell).dp == replica) {
      tp = std::min(tp, layout.cells()[cell].tp_size());
    }
  }
  return tp;
}

ClusterSpec cluster_of(const std::optional<Reader>& in,
                       const ParallelSizes& sizes,
                       std::int64_t num_spare_domains) {
  if (in) {
    return read_cluster(*in);
  }
  return {.gpu = "any",
          .num_nodes = sizes.num_ranks() / sizes.tp + num_spare_domains,
          .gpus_per_node = sizes.tp,
          .domain_size = sizes.tp};
}

void check_places(const Plan& plan, const Reader& layout) {
  const ParallelSizes& sizes = plan.layout.sizes();
  if (sizes.num_ranks() > plan.cluster.num_gpus()) {
    layout.reject(
        fmt::format("tp {} * cp {} * dp {} * pp {} = {} ranks, and the cluster has {} GPUs",
                    sizes.tp,
                    sizes.cp,
                    sizes.dp,
                    sizes.pp,
                    sizes.num_ranks(),
                    plan.cluster.num_gpus()));
  }
  for (const Cell& cell : plan.layout.cells()) {
    for (const GpuId gpu : cell.active()) {
      if (plan.cluster.domain_of(gpu) != plan.cluster.domain_of(cell.slots.front())) {
        layout.reject(fmt::format("the TP group of gpu{} spans NVLink domains", gpu.value()));
      }
    }
  }
}

/// The first domains without a rank.
std::vector<DomainId> spare_domains(const Plan& plan, std::int64_t num, const Reader& layout) {
  std::vector<bool> is_busy(static_cast<std::size_t>(plan.cluster.num_domains()));
  for (const Cell& cell : plan.layout.cells()) {
    is_busy[plan.cluster.domain_of(cell.slots.front()).index()] = true;
  }
  std::vector<DomainId> spares;
  for (std::size_t domain = 0; domain < is_busy.size() && std::ssize(spares) < num; ++domain) {
    if (!is_busy[domain]) {
      spares.emplace_back(static_cast<std::int64_t>(domain));
    }
  }
  if (std::ssize(spares) < num) {
    layout.reject(fmt::format("spare_domains {}, and {} of the cluster's {} domains have no rank",
                              num,
                              spares.size(),
                              is_busy.size()));
  }
  return spares;
}

void check_model(const Plan& plan, const Reader& layout) {
  const ParallelSizes& sizes = plan.layout.sizes();
  if (sizes.tp > plan.model.num_attention_heads) {
    layout.reject(fmt::format("tensor_model_parallel_size {} is more than num_attention_heads {}",
                              sizes.tp,
                              plan.model.num_attention_heads));
  }
  if (sizes.pp * sizes.vpp > plan.model.num_layers) {
    layout.reject(fmt::format("pp {} * vpp {} stages are more than num_layers {}",
                              sizes.pp,
                              sizes.vpp,
                              plan.model.num_layers));
  }
}

/// The microbatches of a step over all replicas.
std::int64_t num_microbatches_of(const Plan& plan, const Reader& training) {
  const std::int64_t dp = plan.layout.sizes().dp;
  const std::int64_t global = plan.training.global_batch_size;
  const std::int64_t micro = plan.training.micro_batch_size;
  if (global % micro != 0) {
    training.reject(
        fmt::format("global_batch_size {} is not divisible by micro_batch_size {}", global, micro));
  }
  if (plan.layout.is_uniform() && global % (micro * dp) != 0) {
    training.reject(fmt::format(
        "global_batch_size {} is not divisible by micro_batch_size {} * data_parallel_size {}; "
        "unequal shares go into num_microbatches",
        global,
        micro,
        dp));
  }
  return global / micro;
}

std::vector<std::int64_t> given_microbatches(const Reader& in, const Plan& plan) {
  const std::vector<std::int64_t> shares = in.integers(1, 1 << 30);
  if (std::ssize(shares) != plan.layout.sizes().dp) {
    in.reject(
        fmt::format("{} numbers for data_parallel_size {}", shares.size(), plan.layout.sizes().dp));
  }
  const std::int64_t sum = std::accumulate(shares.begin(), shares.end(), std::int64_t{0});
  if (sum * plan.training.micro_batch_size != plan.training.global_batch_size) {
    in.reject(fmt::format("{} microbatches of {} sequences are not global_batch_size {}",
                          sum,
                          plan.training.micro_batch_size,
                          plan.training.global_batch_size));
  }
  return shares;
}

/// Megatron's conditions for an interleaved schedule.
void check_interleaving(const Plan& plan, std::int64_t num_microbatches, const Reader& training) {
  const ParallelSizes& sizes = plan.layout.sizes();
  if (sizes.vpp > 1 && (sizes.pp < 2 || num_microbatches % sizes.pp != 0)) {
    training.reject(
        fmt::format("{} microbatches of a replica cannot be interleaved over {} pipeline stages: "
                    "expected a multiple of 2 or more stages",
                    num_microbatches,
                    sizes.pp));
  }
}

void share_batch(const std::optional<Reader>& given, const Reader& training, Plan& plan) {
  const std::vector<std::int64_t> shares =
      given ? given_microbatches(*given, plan)
            : proportional_microbatches(plan.layout, num_microbatches_of(plan, training));
  for (const std::int64_t num : shares) {
    if (num < 1) {
      training.reject("global_batch_size leaves a replica without a microbatch");
    }
    check_interleaving(plan, num, training);
    plan.replicas.push_back({.num_microbatches = num});
  }
}

Plan make_plan(ObjectReader& job, ObjectReader& training) {
  const Reader layout = job.at("layout");
  ObjectReader members = layout.object();
  const ParallelSizes sizes = read_sizes(members);
  const std::optional<Reader> inactive = members.find("non_active_ranks_per_dp");
  const std::int64_t num_spares =
      read_or(members, "spare_domains", std::int64_t{0}, [](const Reader& in) {
        return in.integer(0, kMostSpareDomains);
      });
  members.finish();
  Plan plan;
  plan.policy = "ntp";
  plan.model = read_model(job.at("model"));
  plan.cluster = cluster_of(job.find("cluster"), sizes, num_spares);
  plan.layout = ParallelLayout::nonuniform(
      sizes, inactive ? read_inactive_slots(*inactive, sizes) : std::vector<InactiveSlots>{});
  plan.training = read_training(training);
  check_places(plan, layout);
  plan.spare_domains = spare_domains(plan, num_spares, layout);
  check_model(plan, layout);
  share_batch(training.find("num_microbatches"), training.place(), plan);
  return plan;
}

}  // namespace

Plan read_train_plan(ObjectReader& job, ObjectReader& training) {
  if (const std::optional<Reader> file = job.find("plan")) {
    const std::string path = file->text();
    const Value document = read_document(path);
    return read_plan(Reader(document, path));
  }
  return make_plan(job, training);
}

std::vector<std::int64_t> proportional_microbatches(const ParallelLayout& layout,
                                                    std::int64_t num_microbatches) {
  std::vector<std::int64_t> speeds;
  for (std::int64_t dp = 0; dp < layout.sizes().dp; ++dp) {
    speeds.push_back(smallest_tp(layout, DpRank(dp)));
  }
  const std::int64_t sum = std::accumulate(speeds.begin(), speeds.end(), std::int64_t{0});
  std::vector<std::int64_t> shares;
  std::int64_t rest = num_microbatches;
  for (const std::int64_t speed : speeds) {
    shares.push_back(num_microbatches * speed / sum);
    rest -= shares.back();
  }
  std::vector<std::size_t> order(speeds.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return num_microbatches * speeds[a] % sum > num_microbatches * speeds[b] % sum;
  });
  for (std::int64_t i = 0; i < rest; ++i) {
    ++shares[order[static_cast<std::size_t>(i)]];
  }
  return shares;
}

}  // namespace runflat::exec
