#include "core/state_slice.hpp"

#include "core/process_groups.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

namespace runflat {
namespace {

/// What must agree for two parameters to be in one slice.
struct Division {
  ParamPlace place;
  bool of_experts;
  bool is_tied;
  std::optional<UnitKind> kind;
  std::int64_t num_units;

  friend bool operator==(const Division&, const Division&) = default;
};

Division division_of(const ParamSpec& param) {
  return {.place = param.place,
          .of_experts = param.over_ep.has_value(),
          .is_tied = param.tied_to_embedding,
          .kind = param.over_tp ? std::optional(param.over_tp->kind) : std::nullopt,
          .num_units = param.over_tp ? param.over_tp->num_units : 1};
}

std::vector<std::int64_t> sync_degrees(const ParallelLayout& layout) {
  std::vector<std::int64_t> degrees;
  for (std::int64_t pp = 0; pp < layout.sizes().pp; ++pp) {
    degrees.push_back(layout.sync_degree(PpRank(pp)));
  }
  return degrees;
}

/// Position of every rank in its ep group.
std::vector<std::int64_t> ep_index_of_rank(const std::vector<ProcessGroup>& groups,
                                           std::int64_t num_ranks) {
  std::vector<std::int64_t> index(static_cast<std::size_t>(num_ranks), 0);
  for (const ProcessGroup& group : groups) {
    if (group.kind == GroupKind::ep) {
      for (std::size_t i = 0; i < group.ranks.size(); ++i) {
        index[group.ranks[i].index()] = static_cast<std::int64_t>(i);
      }
    }
  }
  return index;
}

/// Whether these ranks are all of one cell, in its order.
bool is_cell(const ParallelLayout& layout, const std::vector<Rank>& ranks) {
  const CellId cell = layout.coordinate_of(ranks.front()).cell();
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const Coordinate& at = layout.coordinate_of(ranks[i]);
    if (at.cell() != cell || at.tp.index() != i) {
      return false;
    }
  }
  return layout.tp_size(cell) == static_cast<std::int64_t>(ranks.size());
}

}  // namespace

std::vector<StateSlice> state_slices(const ModelSpec& model) {
  std::vector<ParamSpec> params = layer_params(model);
  const std::vector<ParamSpec> outer = outer_params(model);
  params.insert(params.end(), outer.begin(), outer.end());
  std::vector<StateSlice> slices;
  std::vector<Division> divisions;
  for (const ParamSpec& param : params) {
    const Division division = division_of(param);
    const auto found = std::find(divisions.begin(), divisions.end(), division);
    const auto index = static_cast<std::size_t>(found - divisions.begin());
    if (found == divisions.end()) {
      divisions.push_back(division);
      slices.push_back({.params = {},
                        .place = division.place,
                        .of_experts = division.of_experts,
                        .is_tied = division.is_tied,
                        .num_units = division.num_units,
                        .may_replicate = !division.kind || *division.kind == UnitKind::kv_group});
    }
    const std::int64_t copies = division.of_experts ? param.over_ep->num_units : 1;
    slices[index].params.push_back(param.name);
    slices[index].elements_per_unit += param.num_elements() / (division.num_units * copies);
  }
  return slices;
}

std::vector<StateGroup> dense_groups(const ParallelLayout& layout) {
  const std::vector<std::int64_t> sync_degree = sync_degrees(layout);
  std::vector<StateGroup> groups;
  groups.reserve(layout.cells().size());
  for (std::size_t index = 0; index < layout.cells().size(); ++index) {
    const PpRank stage = layout.cell_id(index).pp;
    groups.push_back({.stage = stage,
                      .ep = 0,
                      .sync_degree = sync_degree[stage.index()],
                      .gpus = layout.cells()[index].active()});
  }
  return groups;
}

Expected<std::vector<StateGroup>, Infeasible> expert_groups(const ModelSpec& model,
                                                            const ParallelLayout& layout) {
  const ParallelSizes& sizes = layout.sizes();
  if (model.num_experts % sizes.ep != 0) {
    return Infeasible{
        fmt::format("{} experts cannot be divided over ep {}", model.num_experts, sizes.ep)};
  }
  if (model.num_experts == 0) {
    return std::vector<StateGroup>{};
  }
  const std::vector<ProcessGroup> process_groups = make_process_groups(layout);
  const std::vector<std::int64_t> ep = ep_index_of_rank(process_groups, layout.num_ranks());
  const std::vector<std::int64_t> sync_degree = sync_degrees(layout);
  std::vector<StateGroup> groups;
  for (const std::vector<Rank>& ranks : groups_of(process_groups, GroupKind::ep_tp)) {
    const Coordinate& first = layout.coordinate_of(ranks.front());
    StateGroup group{.stage = first.pp,
                     .ep = ep[ranks.front().index()],
                     .sync_degree = static_cast<std::int64_t>(ranks.size()),
                     .gpus = {}};
    if (!layout.is_uniform()) {
      if (!is_cell(layout, ranks)) {
        return Infeasible{fmt::format(
            "the experts' TP groups (etp {}, order '{}') are not the TP groups of {}, so that a "
            "nonuniform layout would lose experts; use expert_tensor_parallel_size {}",
            sizes.etp,
            sizes.order,
            sizes.tp,
            sizes.tp)};
      }
      group.sync_degree = sync_degree[first.pp.index()];
    }
    for (const Rank rank : ranks) {
      group.gpus.push_back(layout.gpu_of(rank));
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

std::optional<Infeasible> check_division(const ModelSpec& model,
                                         std::int64_t degree,
                                         std::int64_t sync_degree) {
  for (const StateSlice& slice : state_slices(model)) {
    const auto maps = make_shard_maps(slice.num_units, degree, sync_degree, slice.may_replicate);
    if (!slice.of_experts && !maps) {
      return Infeasible{fmt::format("{}: {}", slice.params.front(), maps.error().reason)};
    }
  }
  return std::nullopt;
}

Expected<const OwnerMap*, Infeasible> OwnerMaps::at(std::size_t slice, const StateGroup& group) {
  const Key key{.slice = slice, .degree = group.degree(), .sync_degree = group.sync_degree};
  const auto found = made_.find(key);
  if (found != made_.end()) {
    return &found->second;
  }
  const StateSlice& of = slices_->at(slice);
  const auto maps = make_shard_maps(of.num_units, key.degree, key.sync_degree, of.may_replicate);
  if (!maps) {
    return Infeasible{fmt::format(
        "{} of stage {}: {}", of.params.front(), group.stage.value(), maps.error().reason)};
  }
  OwnerMap map{.maps = *maps, .runs = {}};
  for (std::int64_t rank = 0; rank < key.degree; ++rank) {
    for (const UnitRange& range : maps->compute.ranges_of(TpRank(rank))) {
      map.runs.push_back({range, TpRank(rank)});
    }
  }
  std::stable_sort(map.runs.begin(), map.runs.end(), [](const OwnerRun& a, const OwnerRun& b) {
    return a.units.first < b.units.first;
  });
  return &made_.emplace(key, std::move(map)).first->second;
}

}  // namespace runflat
