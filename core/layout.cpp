#include "core/layout.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <numeric>

namespace runflat {
namespace {

constexpr std::int64_t kMostRanks = 1 << 24;

/// The axes of a dense layout. Expert parallelism is another view of the same ranks, so that `ep`
/// in an order string has size 1 here.
enum class Axis : std::size_t { tp, cp, dp, pp };

struct NamedAxis {
  Axis axis;
  std::int64_t size;
};

std::vector<std::string> split_order(const std::string& order) {
  std::vector<std::string> names(1);
  for (const char c : order) {
    if (c == '-') {
      names.emplace_back();
    } else {
      names.back().push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
    }
  }
  return names;
}

/// The axes of `sizes.order`, fastest first; axes of size 1 that it leaves out come last.
std::vector<NamedAxis> ordered_axes(const ParallelSizes& sizes) {
  const std::vector<std::string> names = split_order(sizes.order);
  std::vector<NamedAxis> named;
  const std::array<std::pair<const char*, NamedAxis>, 4> known = {{{"tp", {Axis::tp, sizes.tp}},
                                                                   {"cp", {Axis::cp, sizes.cp}},
                                                                   {"dp", {Axis::dp, sizes.dp}},
                                                                   {"pp", {Axis::pp, sizes.pp}}}};
  for (const std::string& name : names) {
    for (const auto& [known_name, axis] : known) {
      if (name == known_name) {
        named.push_back(axis);
      }
    }
  }
  for (const auto& [known_name, axis] : known) {
    if (std::find(names.begin(), names.end(), known_name) == names.end()) {
      named.push_back(axis);
    }
  }
  return named;
}

/// Calls `visit(coordinate)` for every place of the nominal grid in rank order.
template <typename Visit>
void for_each_nominal(const ParallelSizes& sizes, Visit visit) {
  const std::vector<NamedAxis> axes = ordered_axes(sizes);
  std::array<std::int64_t, 4> at = {0, 0, 0, 0};
  const std::int64_t total = sizes.num_ranks();
  for (std::int64_t nominal = 0; nominal < total; ++nominal) {
    std::int64_t rest = nominal;
    for (const NamedAxis& named : axes) {
      at[static_cast<std::size_t>(named.axis)] = rest % named.size;
      rest /= named.size;
    }
    visit(Coordinate{.tp = TpRank(at[static_cast<std::size_t>(Axis::tp)]),
                     .cp = CpRank(at[static_cast<std::size_t>(Axis::cp)]),
                     .dp = DpRank(at[static_cast<std::size_t>(Axis::dp)]),
                     .pp = PpRank(at[static_cast<std::size_t>(Axis::pp)])},
          nominal);
  }
}

/// Ranks between a stage and the next, for the dense layers or for the experts.
std::int64_t pipeline_stride(const std::vector<std::string>& names,
                             const ParallelSizes& sizes,
                             bool of_experts) {
  const std::int64_t stage = sizes.tp * sizes.cp * sizes.dp;
  std::int64_t stride = 1;
  for (const std::string& name : names) {
    if (name == "pp") {
      break;
    }
    if (name == "tp") {
      stride *= of_experts ? sizes.etp : sizes.tp;
    } else if (name == "cp") {
      stride *= of_experts ? 1 : sizes.cp;
    } else if (name == "ep") {
      stride *= of_experts ? sizes.ep : 1;
    } else if (name == "dp") {
      stride *= of_experts ? stage / (sizes.etp * sizes.ep) : sizes.dp;
    }
  }
  return stride;
}

std::size_t index_of(const ParallelSizes& sizes, CellId id) {
  require(id.dp.value() >= 0 && id.dp.value() < sizes.dp && id.cp.value() >= 0 &&
              id.cp.value() < sizes.cp && id.pp.value() >= 0 && id.pp.value() < sizes.pp,
          fmt::format("no cell (dp {}, cp {}, pp {}) in dp {} x cp {} x pp {}",
                      id.dp.value(),
                      id.cp.value(),
                      id.pp.value(),
                      sizes.dp,
                      sizes.cp,
                      sizes.pp));
  return static_cast<std::size_t>(id.dp.value() +
                                  sizes.dp * (id.cp.value() + sizes.cp * id.pp.value()));
}

std::vector<Cell> nominal_cells(const ParallelSizes& sizes) {
  std::vector<Cell> cells(static_cast<std::size_t>(sizes.dp * sizes.cp * sizes.pp));
  for (Cell& cell : cells) {
    cell.slots.resize(static_cast<std::size_t>(sizes.tp));
  }
  for_each_nominal(sizes, [&](const Coordinate& at, std::int64_t nominal) {
    cells[index_of(sizes, at.cell())].slots[at.tp.index()] = GpuId(nominal);
  });
  return cells;
}

void check_cell(const ParallelSizes& sizes, const Cell& cell) {
  require(static_cast<std::int64_t>(cell.slots.size()) == sizes.tp,
          fmt::format("a cell has {} slots, expected {}", cell.slots.size(), sizes.tp));
  std::int64_t previous = -1;
  for (const std::int64_t slot : cell.inactive) {
    require(slot > previous && slot < sizes.tp,
            fmt::format("inactive slot {} is outside 0..{} or named twice", slot, sizes.tp - 1));
    previous = slot;
  }
  require(cell.tp_size() >= 1, "a cell has no active slot left; drop its replica instead");
}

}  // namespace

std::optional<Infeasible> check_sizes(const ParallelSizes& sizes) {
  const std::vector<std::string> names = split_order(sizes.order);
  const std::array<std::pair<const char*, std::int64_t>, 5> axes = {
      {{"tp", sizes.tp}, {"cp", sizes.cp}, {"ep", sizes.ep}, {"dp", sizes.dp}, {"pp", sizes.pp}}};
  for (const auto& [name, size] : axes) {
    const auto named = std::count(names.begin(), names.end(), name);
    if (size < 1 || named > 1 || (named == 0 && size > 1)) {
      return Infeasible{fmt::format(
          "order '{}' must name axis {} of size {} exactly once", sizes.order, name, size)};
    }
  }
  for (const std::string& name : names) {
    const bool known =
        std::any_of(axes.begin(), axes.end(), [&](const auto& axis) { return name == axis.first; });
    if (!known) {
      return Infeasible{fmt::format("order '{}' names an unknown axis '{}'", sizes.order, name)};
    }
  }
  std::int64_t num_ranks = 1;
  for (const std::int64_t size : {sizes.tp, sizes.cp, sizes.dp, sizes.pp}) {
    num_ranks = size > kMostRanks / num_ranks ? kMostRanks + 1 : num_ranks * size;
  }
  if (std::max({num_ranks, sizes.ep, sizes.etp}) > kMostRanks) {
    return Infeasible{fmt::format("more than {} ranks", kMostRanks)};
  }
  if (sizes.vpp < 1) {
    return Infeasible{fmt::format("{} virtual stages, expected at least 1", sizes.vpp)};
  }
  const std::int64_t stage = sizes.tp * sizes.cp * sizes.dp;
  if (sizes.etp < 1 || stage % (sizes.ep * sizes.etp) != 0) {
    return Infeasible{
        fmt::format("tp {} * cp {} * dp {} = {} ranks are not divisible by ep {} * etp {}",
                    sizes.tp,
                    sizes.cp,
                    sizes.dp,
                    stage,
                    sizes.ep,
                    sizes.etp)};
  }
  if (names.back() != "pp" && sizes.pp > 1 && stage / (sizes.ep * sizes.etp) != sizes.dp) {
    return Infeasible{fmt::format(
        "order '{}' does not end with pp: expert data parallelism {} must then equal dp {}",
        sizes.order,
        stage / (sizes.ep * sizes.etp),
        sizes.dp)};
  }
  if (sizes.pp > 1 && pipeline_stride(names, sizes, false) != pipeline_stride(names, sizes, true)) {
    return Infeasible{fmt::format(
        "order '{}' gives experts (etp {}, ep {}) other pipelines than the dense layers",
        sizes.order,
        sizes.etp,
        sizes.ep)};
  }
  return std::nullopt;
}

ParallelSizes read_sizes(ObjectReader& members) {
  const auto count = [](const Reader& item) { return item.integer(1, kMostRanks); };
  ParallelSizes sizes;
  sizes.tp = read_or(members, "tensor_model_parallel_size", sizes.tp, count);
  sizes.cp = read_or(members, "context_parallel_size", sizes.cp, count);
  sizes.ep = read_or(members, "expert_model_parallel_size", sizes.ep, count);
  sizes.dp = read_or(members, "data_parallel_size", sizes.dp, count);
  sizes.pp = read_or(members, "pipeline_model_parallel_size", sizes.pp, count);
  sizes.etp = read_or(members, "expert_tensor_parallel_size", sizes.tp, count);
  sizes.vpp = read_or(members, "virtual_pipeline_model_parallel_size", sizes.vpp, count);
  sizes.order = read_or(members, "order", sizes.order, &Reader::text);
  if (const std::optional<Infeasible> problem = check_sizes(sizes)) {
    members.place().reject(problem->reason);
  }
  return sizes;
}

ParallelSizes read_sizes(const Reader& in) {
  ObjectReader members = in.object();
  const ParallelSizes sizes = read_sizes(members);
  members.finish();
  return sizes;
}

Value to_value(const ParallelSizes& sizes) {
  return Value::Object{{"tensor_model_parallel_size", sizes.tp},
                       {"context_parallel_size", sizes.cp},
                       {"expert_model_parallel_size", sizes.ep},
                       {"data_parallel_size", sizes.dp},
                       {"pipeline_model_parallel_size", sizes.pp},
                       {"expert_tensor_parallel_size", sizes.etp},
                       {"virtual_pipeline_model_parallel_size", sizes.vpp},
                       {"order", sizes.order}};
}

std::vector<GpuId> Cell::active() const {
  std::vector<GpuId> gpus;
  gpus.reserve(slots.size());
  auto skipped = inactive.begin();
  for (std::size_t slot = 0; slot < slots.size(); ++slot) {
    if (skipped != inactive.end() && *skipped == static_cast<std::int64_t>(slot)) {
      ++skipped;
    } else {
      gpus.push_back(slots[slot]);
    }
  }
  return gpus;
}

ParallelLayout::ParallelLayout(const ParallelSizes& sizes, std::vector<Cell> cells)
    : sizes_(sizes), cells_(std::move(cells)), ranks_of_cell_(cells_.size()) {
  std::vector<std::vector<GpuId>> active;
  active.reserve(cells_.size());
  for (const Cell& cell : cells_) {
    check_cell(sizes_, cell);
    active.push_back(cell.active());
  }
  for_each_nominal(sizes_, [&](const Coordinate& at, std::int64_t /*nominal*/) {
    const std::size_t cell = index_of(sizes_, at.cell());
    if (at.tp.index() < active[cell].size()) {
      const Rank rank(num_ranks());
      coordinates_.push_back(at);
      gpus_.push_back(active[cell][at.tp.index()]);
      ranks_of_cell_[cell].push_back(rank);
      rank_of_gpu_.emplace_back(gpus_.back(), rank);
    }
  });
  std::sort(rank_of_gpu_.begin(), rank_of_gpu_.end());
  const auto twice = std::adjacent_find(
      rank_of_gpu_.begin(), rank_of_gpu_.end(), [](const auto& a, const auto& b) {
        return a.first == b.first;
      });
  require(twice == rank_of_gpu_.end(), "a GPU plays two ranks");
}

ParallelLayout ParallelLayout::uniform(const ParallelSizes& sizes) {
  return nonuniform(sizes, {});
}

ParallelLayout ParallelLayout::nonuniform(const ParallelSizes& sizes,
                                          const std::vector<InactiveSlots>& inactive) {
  const std::optional<Infeasible> problem = check_sizes(sizes);
  require(!problem, problem ? problem->reason : "");
  std::vector<Cell> cells = nominal_cells(sizes);
  for (const InactiveSlots& entry : inactive) {
    std::vector<std::int64_t>& slots = cells[index_of(sizes, entry.cell)].inactive;
    slots.insert(slots.end(), entry.slots.begin(), entry.slots.end());
    std::sort(slots.begin(), slots.end());
  }
  return ParallelLayout(sizes, std::move(cells));
}

ParallelLayout ParallelLayout::from_cells(const ParallelSizes& sizes, std::vector<Cell> cells) {
  const std::optional<Infeasible> problem = check_sizes(sizes);
  require(!problem, problem ? problem->reason : "");
  require(
      static_cast<std::int64_t>(cells.size()) == sizes.dp * sizes.cp * sizes.pp,
      fmt::format(
          "{} cells, expected dp {} * cp {} * pp {}", cells.size(), sizes.dp, sizes.cp, sizes.pp));
  return ParallelLayout(sizes, std::move(cells));
}

std::size_t ParallelLayout::cell_index(CellId id) const {
  return index_of(sizes_, id);
}

CellId ParallelLayout::cell_id(std::size_t index) const {
  require(index < cells_.size(), "no such cell");
  const auto place = static_cast<std::int64_t>(index);
  return {.dp = DpRank(place % sizes_.dp),
          .cp = CpRank(place / sizes_.dp % sizes_.cp),
          .pp = PpRank(place / sizes_.dp / sizes_.cp)};
}

std::int64_t ParallelLayout::sync_degree(PpRank pp) const {
  std::int64_t degree = sizes_.tp;
  for (std::int64_t cp = 0; cp < sizes_.cp; ++cp) {
    for (std::int64_t dp = 0; dp < sizes_.dp; ++dp) {
      degree = std::min(degree, tp_size({DpRank(dp), CpRank(cp), pp}));
    }
  }
  return degree;
}

const Coordinate& ParallelLayout::coordinate_of(Rank rank) const {
  require(rank.value() >= 0 && rank.value() < num_ranks(),
          fmt::format("rank {} is not one of {}", rank.value(), num_ranks()));
  return coordinates_[rank.index()];
}

GpuId ParallelLayout::gpu_of(Rank rank) const {
  require(rank.value() >= 0 && rank.value() < num_ranks(),
          fmt::format("rank {} is not one of {}", rank.value(), num_ranks()));
  return gpus_[rank.index()];
}

std::optional<Rank> ParallelLayout::rank_of(const Coordinate& coordinate) const {
  const std::vector<Rank>& ranks = ranks_of_cell_[cell_index(coordinate.cell())];
  if (coordinate.tp.value() < 0 || coordinate.tp.index() >= ranks.size()) {
    return std::nullopt;
  }
  return ranks[coordinate.tp.index()];
}

std::optional<Rank> ParallelLayout::rank_of(GpuId gpu) const {
  const auto found = std::lower_bound(
      rank_of_gpu_.begin(), rank_of_gpu_.end(), gpu, [](const auto& entry, GpuId wanted) {
        return entry.first < wanted;
      });
  if (found == rank_of_gpu_.end() || found->first != gpu) {
    return std::nullopt;
  }
  return found->second;
}

}  // namespace runflat
