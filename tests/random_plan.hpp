#pragma once

#include "core/plan.hpp"
#include "tests/dice.hpp"

#include <algorithm>
#include <numeric>
#include <optional>
#include <vector>

namespace runflat::tests {

/// A small model that every TP degree up to `tp` can divide, without replicating kv-groups.
inline ModelSpec random_model(std::int64_t tp, std::int64_t num_experts, Dice& dice) {
  ModelSpec model;
  model.name = "random";
  model.family = num_experts > 0  ? ModelFamily::moe
                 : dice.one_in(2) ? ModelFamily::llama
                                  : ModelFamily::gpt;
  model.num_layers = dice.between(1, 9);
  model.num_query_groups = tp + dice.between(0, 5);
  model.num_attention_heads = model.num_query_groups * dice.between(1, 2);
  model.kv_channels = 2;
  model.hidden_size = model.num_attention_heads * 2;
  model.ffn_hidden_size = tp + dice.between(0, 20);
  model.seq_length = 4;
  model.padded_vocab_size = tp + dice.between(0, 10);
  model.gated_linear_unit = model.family != ModelFamily::gpt;
  model.rms_norm = model.family != ModelFamily::gpt;
  model.learned_positions = model.family == ModelFamily::gpt;
  model.add_bias_linear = model.family == ModelFamily::gpt;
  model.untie_embeddings_and_output_weights = dice.one_in(2);
  if (num_experts > 0) {
    model.num_experts = num_experts;
    model.moe_ffn_hidden_size = tp + dice.between(0, 9);
    model.moe_router_topk = 1;
  }
  return model;
}

/// Sites of `tp` GPUs in the domains of a cluster, their GPUs in random order.
inline std::vector<std::vector<GpuId>> random_sites(const ClusterSpec& cluster,
                                                    std::int64_t tp,
                                                    Dice& dice) {
  std::vector<std::vector<GpuId>> sites;
  for (std::int64_t domain = 0; domain < cluster.num_domains(); ++domain) {
    std::vector<GpuId> gpus;
    for (std::int64_t i = 0; i < cluster.domain_size; ++i) {
      gpus.emplace_back(cluster.first_gpu(DomainId(domain)).value() + i);
    }
    if (dice.one_in(2)) {
      dice.shuffle(gpus);
    }
    for (std::int64_t i = 0; i + tp <= cluster.domain_size; i += tp) {
      sites.emplace_back(gpus.begin() + i, gpus.begin() + i + tp);
    }
  }
  dice.shuffle(sites);
  return sites;
}

/// The cell on a site: failed slots do not run, and sometimes a healthy one idles. Nothing when no
/// slot is left.
inline std::optional<Cell> random_cell(const std::vector<GpuId>& site,
                                       const std::vector<GpuId>& failed,
                                       Dice& dice) {
  Cell cell{.slots = site, .inactive = {}};
  const bool idles = dice.one_in(5);
  for (std::size_t slot = 0; slot < site.size(); ++slot) {
    if (std::binary_search(failed.begin(), failed.end(), site[slot]) || (idles && dice.one_in(3))) {
      cell.inactive.push_back(static_cast<std::int64_t>(slot));
    }
  }
  return cell.tp_size() > 0 ? std::optional(cell) : std::nullopt;
}

/// A job with its failed GPUs anywhere, on sites anywhere. With `may_have_experts` some models are
/// MoE with expert parallelism over whole TP groups.
inline Plan random_plan(Dice& dice, bool may_have_experts = true) {
  Plan plan;
  plan.policy = "random";
  ParallelSizes sizes;
  sizes.tp = dice.between(1, 6);
  sizes.etp = sizes.tp;
  sizes.cp = dice.between(1, 2);
  sizes.dp = dice.between(1, 4);
  sizes.pp = dice.between(1, 3);
  sizes.vpp = sizes.pp > 1 ? dice.between(1, 2) : 1;
  const bool is_moe = may_have_experts && dice.one_in(3);
  sizes.ep = is_moe && dice.one_in(2) ? sizes.dp * sizes.cp : 1;
  plan.model = random_model(sizes.tp, is_moe ? sizes.ep * dice.between(1, 2) : 0, dice);
  const std::int64_t num_cells = sizes.dp * sizes.cp * sizes.pp;
  const std::int64_t sites_per_domain = dice.between(1, 2);
  plan.cluster.gpu = "h100";
  plan.cluster.domain_size = sites_per_domain * sizes.tp + dice.between(0, 1);
  plan.cluster.gpus_per_node = plan.cluster.domain_size;
  plan.cluster.num_nodes = num_cells / sites_per_domain + dice.between(1, 3);
  std::vector<Cell> cells;
  while (static_cast<std::int64_t>(cells.size()) < num_cells) {
    plan.failed.clear();
    for (std::int64_t gpu = 0; gpu < plan.cluster.num_gpus(); ++gpu) {
      if (dice.one_in(12)) {
        plan.failed.emplace_back(gpu);
      }
    }
    cells.clear();
    for (const std::vector<GpuId>& site : random_sites(plan.cluster, sizes.tp, dice)) {
      const std::optional<Cell> cell = random_cell(site, plan.failed, dice);
      if (cell && static_cast<std::int64_t>(cells.size()) < num_cells) {
        cells.push_back(*cell);
      }
    }
  }
  plan.layout = ParallelLayout::from_cells(sizes, std::move(cells));
  plan.training.micro_batch_size = dice.between(1, 2);
  for (std::int64_t dp = 0; dp < sizes.dp; ++dp) {
    plan.replicas.push_back({.num_microbatches = 2 * sizes.pp * dice.between(1, 3),
                             .power = 1.0 + 0.05 * static_cast<double>(dice.between(0, 6))});
  }
  plan.training.global_batch_size = plan.global_batch_size();
  return plan;
}

/// What a replanner might answer after some failures and repairs: most cells stay where they are,
/// some move to another site or change places, the last replica may be dropped.
inline Plan random_next_plan(const Plan& old, Dice& dice) {
  Plan next = old;
  const std::int64_t tp = old.layout.sizes().tp;
  while (true) {
    next.failed.clear();
    for (std::int64_t gpu = 0; gpu < old.cluster.num_gpus(); ++gpu) {
      const bool was_down = std::binary_search(old.failed.begin(), old.failed.end(), GpuId(gpu));
      if (was_down ? !dice.one_in(3) : dice.one_in(20)) {
        next.failed.emplace_back(gpu);
      }
    }
    ParallelSizes sizes = old.layout.sizes();
    if (sizes.dp > 1 && sizes.ep == 1 && dice.one_in(4)) {
      --sizes.dp;
    }
    std::vector<std::vector<GpuId>> sites;
    for (std::size_t index = 0; index < old.layout.cells().size(); ++index) {
      if (old.layout.cell_id(index).dp.value() < sizes.dp) {
        sites.push_back(old.layout.cells()[index].slots);
      }
    }
    if (dice.one_in(3)) {
      std::swap(sites[dice.index(sites.size())], sites[dice.index(sites.size())]);
    }
    if (dice.one_in(4)) {  // everybody somewhere else
      std::vector<std::vector<GpuId>> all = random_sites(old.cluster, tp, dice);
      all.resize(sites.size());
      sites = std::move(all);
    }
    std::vector<Cell> cells;
    for (const std::vector<GpuId>& site : sites) {
      if (const std::optional<Cell> cell = random_cell(site, next.failed, dice)) {
        cells.push_back(*cell);
      }
    }
    if (cells.size() == sites.size()) {
      next.layout = ParallelLayout::from_cells(sizes, std::move(cells));
      next.replicas.resize(static_cast<std::size_t>(sizes.dp));
      return next;
    }
  }
}

}  // namespace runflat::tests
