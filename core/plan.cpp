#include "core/plan.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ostream.h>
#include <functional>

namespace runflat {
namespace {

template <typename IdType>
Value ids_to_value(const std::vector<IdType>& ids) {
  Value::Array numbers;
  numbers.reserve(ids.size());
  for (const IdType id : ids) {
    numbers.emplace_back(id.value());
  }
  return numbers;
}

template <typename IdType>
std::vector<IdType> read_ids(const Reader& in, std::int64_t num) {
  std::vector<IdType> ids;
  for (const std::int64_t number : in.integers(0, num - 1)) {
    ids.push_back(IdType(number));
  }
  return ids;
}

/// Ids in any order, each once; returned in ascending order.
template <typename IdType>
std::vector<IdType> read_id_set(const Reader& in, std::int64_t num) {
  std::vector<IdType> ids = read_ids<IdType>(in, num);
  std::sort(ids.begin(), ids.end());
  const auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice != ids.end()) {
    in.reject(fmt::format("{} appears twice", fmt::streamed(*twice)));
  }
  return ids;
}

void check_cell(const Cell& cell, std::int64_t tp, const Reader& in) {
  if (static_cast<std::int64_t>(cell.slots.size()) != tp) {
    in.reject(fmt::format("{} GPUs, expected {}", cell.slots.size(), tp));
  }
  if (std::adjacent_find(cell.inactive.begin(), cell.inactive.end(), std::greater_equal<>()) !=
      cell.inactive.end()) {
    in.reject("the inactive slots must be in ascending order, each once");
  }
  if (cell.tp_size() < 1) {
    in.reject("no active slot is left");
  }
}

Value cells_to_value(const ParallelLayout& layout) {
  Value::Array cells;
  for (std::size_t index = 0; index < layout.cells().size(); ++index) {
    const CellId id = layout.cell_id(index);
    const Cell& cell = layout.cells()[index];
    cells.emplace_back(Value::Object{{"dp", id.dp.value()},
                                     {"cp", id.cp.value()},
                                     {"pp", id.pp.value()},
                                     {"gpus", ids_to_value(cell.slots)},
                                     {"inactive", Value::array_of(cell.inactive)}});
  }
  return cells;
}

/// The cells in the order that ParallelLayout::from_cells wants.
std::vector<Cell> read_cells(const Reader& in,
                             const ParallelSizes& sizes,
                             const ClusterSpec& cluster) {
  const auto num_cells = static_cast<std::size_t>(sizes.dp * sizes.cp * sizes.pp);
  const std::vector<Reader> items = in.items();
  if (items.size() != num_cells) {
    in.reject(fmt::format("expected {} cells, found {}", num_cells, items.size()));
  }
  std::vector<Cell> cells(num_cells);
  for (const Reader& item : items) {
    ObjectReader members = item.object();
    const std::int64_t dp = members.at("dp").integer(0, sizes.dp - 1);
    const std::int64_t cp = members.at("cp").integer(0, sizes.cp - 1);
    const std::int64_t pp = members.at("pp").integer(0, sizes.pp - 1);
    Cell& cell = cells[static_cast<std::size_t>(dp + sizes.dp * (cp + sizes.cp * pp))];
    if (!cell.slots.empty()) {
      item.reject(fmt::format("cell (dp {}, cp {}, pp {}) appears twice", dp, cp, pp));
    }
    cell.slots = read_ids<GpuId>(members.at("gpus"), cluster.num_gpus());
    cell.inactive = members.at("inactive").integers(0, sizes.tp - 1);
    members.finish();
    check_cell(cell, sizes.tp, item);
  }
  return cells;
}

ParallelLayout read_layout(const Reader& in, const ClusterSpec& cluster) {
  ObjectReader members = in.object();
  const ParallelSizes sizes = read_sizes(members.at("sizes"));
  if (sizes.num_ranks() > cluster.num_gpus()) {
    in.reject(
        fmt::format("{} ranks do not fit onto {} GPUs", sizes.num_ranks(), cluster.num_gpus()));
  }
  const Reader place = members.at("cells");
  std::vector<Cell> cells = read_cells(place, sizes, cluster);
  members.finish();
  std::vector<GpuId> active;
  for (const Cell& cell : cells) {
    const std::vector<GpuId> gpus = cell.active();
    active.insert(active.end(), gpus.begin(), gpus.end());
  }
  std::sort(active.begin(), active.end());
  const auto twice = std::adjacent_find(active.begin(), active.end());
  if (twice != active.end()) {
    place.reject(fmt::format("{} plays two ranks", fmt::streamed(*twice)));
  }
  return ParallelLayout::from_cells(sizes, std::move(cells));
}

std::vector<ReplicaShare> read_replicas(const Reader& in, std::int64_t dp) {
  std::vector<ReplicaShare> shares;
  for (const Reader& item : in.items()) {
    ObjectReader members = item.object();
    shares.push_back(
        {.num_microbatches = members.at("num_microbatches").integer(1, 1 << 30),
         .power = members.at("power").positive_number(),
         .num_recompute_layers = members.at("num_recompute_layers").integer(0, 1 << 24)});
    members.finish();
  }
  if (static_cast<std::int64_t>(shares.size()) != dp) {
    in.reject(fmt::format("expected {} replicas, found {}", dp, shares.size()));
  }
  return shares;
}

void check_plan(const Plan& plan, const Reader& in) {
  for (const Cell& cell : plan.layout.cells()) {
    for (const GpuId gpu : cell.active()) {
      if (std::binary_search(plan.failed.begin(), plan.failed.end(), gpu)) {
        in.reject(fmt::format("gpu{} has failed and plays a rank", gpu.value()));
      }
      if (plan.cluster.domain_of(gpu) != plan.cluster.domain_of(cell.slots.front())) {
        in.reject(fmt::format("the TP group of gpu{} spans NVLink domains", gpu.value()));
      }
      if (std::binary_search(
              plan.spare_domains.begin(), plan.spare_domains.end(), plan.cluster.domain_of(gpu))) {
        in.reject(fmt::format("gpu{} of spare domain{} plays a rank",
                              gpu.value(),
                              plan.cluster.domain_of(gpu).value()));
      }
    }
  }
}

}  // namespace

std::int64_t Plan::global_batch_size() const {
  std::int64_t sequences = 0;
  for (const ReplicaShare& share : replicas) {
    sequences += share.num_microbatches * training.micro_batch_size;
  }
  return sequences;
}

std::vector<GpuId> gpus_of(const Plan& plan) {
  std::vector<GpuId> gpus;
  for (std::int64_t rank = 0; rank < plan.layout.num_ranks(); ++rank) {
    gpus.push_back(plan.layout.gpu_of(Rank(rank)));
  }
  for (const DomainId domain : plan.spare_domains) {
    const std::int64_t first = plan.cluster.first_gpu(domain).value();
    for (std::int64_t gpu = first; gpu < first + plan.cluster.domain_size; ++gpu) {
      if (!std::binary_search(plan.failed.begin(), plan.failed.end(), GpuId(gpu))) {
        gpus.emplace_back(gpu);
      }
    }
  }
  return gpus;
}

Value to_value(const Plan& plan) {
  Value::Array replicas;
  for (const ReplicaShare& share : plan.replicas) {
    replicas.emplace_back(Value::Object{{"num_microbatches", share.num_microbatches},
                                        {"power", share.power},
                                        {"num_recompute_layers", share.num_recompute_layers}});
  }
  return Value::Object{{"schema", kPlanSchema},
                       {"policy", plan.policy},
                       {"reasons", Value::array_of(plan.reasons)},
                       {"cluster", to_value(plan.cluster)},
                       {"model", to_value(plan.model)},
                       {"layout",
                        Value::Object{{"sizes", to_value(plan.layout.sizes())},
                                      {"cells", cells_to_value(plan.layout)}}},
                       {"training", to_value(plan.training)},
                       {"replicas", std::move(replicas)},
                       {"failed", ids_to_value(plan.failed)},
                       {"spare_domains", ids_to_value(plan.spare_domains)}};
}

Plan read_plan(const Reader& in) {
  ObjectReader members = in.object();
  const Reader schema = members.at("schema");
  if (schema.integer() != kPlanSchema) {
    schema.fail(fmt::format("schema {}", kPlanSchema));
  }
  Plan plan;
  plan.policy = members.at("policy").text();
  for (const Reader& reason : members.at("reasons").items()) {
    plan.reasons.push_back(reason.text());
  }
  plan.cluster = read_cluster(members.at("cluster"));
  plan.model = read_model(members.at("model"));
  const Reader layout = members.at("layout");
  plan.layout = read_layout(layout, plan.cluster);
  plan.training = read_training(members.at("training"));
  plan.replicas = read_replicas(members.at("replicas"), plan.layout.sizes().dp);
  plan.failed = read_id_set<GpuId>(members.at("failed"), plan.cluster.num_gpus());
  plan.spare_domains =
      read_id_set<DomainId>(members.at("spare_domains"), plan.cluster.num_domains());
  members.finish();
  check_plan(plan, layout);
  return plan;
}

}  // namespace runflat
