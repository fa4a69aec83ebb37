#include "core/megatron_export.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>
#include <optional>
#include <set>

namespace runflat {
namespace {

std::vector<CellId> cells_of(const ParallelSizes& sizes, DpRank dp) {
  std::vector<CellId> cells;
  for (std::int64_t cp = 0; cp < sizes.cp; ++cp) {
    for (std::int64_t pp = 0; pp < sizes.pp; ++pp) {
      cells.push_back({dp, CpRank(cp), PpRank(pp)});
    }
  }
  return cells;
}

bool is_reduced(const ParallelLayout& layout, DpRank dp) {
  const std::vector<CellId> cells = cells_of(layout.sizes(), dp);
  return std::any_of(cells.begin(), cells.end(), [&](const CellId& cell) {
    return layout.tp_size(cell) < layout.sizes().tp;
  });
}

/// Why the branch cannot run the layout however it is padded.
std::optional<Infeasible> check_expressible(const ParallelLayout& layout) {
  if (layout.is_uniform()) {
    return std::nullopt;
  }
  ParallelSizes usual = layout.sizes();
  usual.order = "tp-cp-ep-dp-pp";
  const ParallelLayout nominal = ParallelLayout::uniform(layout.sizes());
  const ParallelLayout expected = ParallelLayout::uniform(usual);
  if (nominal.cells() != expected.cells()) {
    return Infeasible{
        fmt::format("Megatron's NTP branch numbers ranks in the order tp-cp-dp-pp, this layout "
                    "in the order {}",
                    layout.sizes().order)};
  }
  std::int64_t last_reduced = -1;
  std::int64_t first_healthy = layout.sizes().dp;
  for (std::int64_t dp = 0; dp < layout.sizes().dp; ++dp) {
    if (is_reduced(layout, DpRank(dp))) {
      last_reduced = dp;
    } else {
      first_healthy = std::min(first_healthy, dp);
    }
  }
  if (first_healthy < last_reduced) {
    return Infeasible{
        fmt::format("Megatron's NTP branch expects the reduced replicas first, but replica {} is "
                    "reduced and replica {} is not",
                    last_reduced,
                    first_healthy)};
  }
  return std::nullopt;
}

/// Slots that are inactive in one CP slice of a stage, for every CP slice of it.
std::vector<InactiveSlots> same_slots_over_cp(const ParallelLayout& layout) {
  const ParallelSizes& sizes = layout.sizes();
  std::vector<InactiveSlots> list;
  for (std::int64_t dp = 0; dp < sizes.dp; ++dp) {
    for (std::int64_t pp = 0; pp < sizes.pp; ++pp) {
      std::set<std::int64_t> slots;
      for (std::int64_t cp = 0; cp < sizes.cp; ++cp) {
        const Cell& cell = layout.cell({DpRank(dp), CpRank(cp), PpRank(pp)});
        slots.insert(cell.inactive.begin(), cell.inactive.end());
      }
      for (std::int64_t cp = 0; cp < sizes.cp && !slots.empty(); ++cp) {
        list.push_back({{DpRank(dp), CpRank(cp), PpRank(pp)}, {slots.begin(), slots.end()}});
      }
    }
  }
  return list;
}

bool has_inactive_before_active(const Cell& cell) {
  return !cell.inactive.empty() && cell.inactive.front() != cell.tp_size();
}

std::vector<std::string> notes_on(const ParallelLayout& layout) {
  const ParallelSizes& sizes = layout.sizes();
  const std::vector<Cell>& cells = layout.cells();
  const std::vector<Cell> nominal = ParallelLayout::uniform(sizes).cells();
  std::vector<std::string> notes;
  if (!std::equal(cells.begin(), cells.end(), nominal.begin(), [](const Cell& a, const Cell& b) {
        return a.slots == b.slots;
      })) {
    notes.emplace_back(
        "ranks are not on GPUs in order: start slot s of a TP group on the s-th GPU that the plan "
        "gives the group");
  }
  if (layout.is_uniform()) {
    return notes;
  }
  if (sizes.pp > 1) {
    notes.push_back(
        fmt::format("Megatron's NTP branch rebuilds process groups for one pipeline stage, this "
                    "layout has {}",
                    sizes.pp));
  }
  if (sizes.ep > 1) {
    notes.push_back(
        fmt::format("Megatron's NTP branch does not rebuild expert groups, this layout has expert "
                    "parallelism {}",
                    sizes.ep));
  }
  if (std::any_of(cells.begin(), cells.end(), has_inactive_before_active)) {
    notes.emplace_back(
        "Megatron's NTP branch pairs data parallel peers by slot: an inactive slot before an "
        "active one leaves a rank waiting for a peer that does not run");
  }
  return notes;
}

/// The same active GPUs in the same order, then those of the inactive slots.
Cell with_inactive_last(const Cell& old) {
  Cell cell{.slots = old.active(), .inactive = {}};
  for (const std::int64_t slot : old.inactive) {
    cell.inactive.push_back(static_cast<std::int64_t>(cell.slots.size()));
    cell.slots.push_back(old.slots[static_cast<std::size_t>(slot)]);
  }
  return cell;
}

}  // namespace

Expected<MegatronNtpExport, Infeasible> to_megatron_ntp(const ParallelLayout& layout) {
  if (const std::optional<Infeasible> problem = check_expressible(layout)) {
    return *problem;
  }
  const std::int64_t tp_base = layout.sizes().tp;
  std::vector<InactiveSlots> inactive = same_slots_over_cp(layout);
  for (const InactiveSlots& entry : inactive) {
    if (static_cast<std::int64_t>(entry.slots.size()) == tp_base) {
      return Infeasible{
          fmt::format("Megatron needs the same active slots in every CP slice, but replica {} has "
                      "no slot that is active in all CP slices of stage {}",
                      entry.cell.dp.value(),
                      entry.cell.pp.value())};
    }
  }
  MegatronNtpConfig config = make_megatron_ntp(tp_base, std::move(inactive));
  std::vector<Cell> cells = layout.cells();
  for (const InactiveSlots& entry : config.non_active_ranks_per_dp) {
    cells[layout.cell_index(entry.cell)].inactive = entry.slots;
  }
  ParallelLayout padded = ParallelLayout::from_cells(layout.sizes(), std::move(cells));
  std::vector<std::string> notes = notes_on(padded);
  return MegatronNtpExport{std::move(config), std::move(padded), std::move(notes)};
}

MegatronOrder order_for_megatron(const ParallelLayout& layout) {
  const ParallelSizes& sizes = layout.sizes();
  std::vector<std::int64_t> order(static_cast<std::size_t>(sizes.dp));
  std::iota(order.begin(), order.end(), 0);
  std::stable_partition(
      order.begin(), order.end(), [&](std::int64_t dp) { return is_reduced(layout, DpRank(dp)); });
  std::vector<Cell> cells(layout.cells().size());
  std::vector<DpRank> replicas;
  for (const std::int64_t old_dp : order) {
    const DpRank new_dp(static_cast<std::int64_t>(replicas.size()));
    replicas.emplace_back(old_dp);
    for (const CellId& id : cells_of(sizes, replicas.back())) {
      cells[layout.cell_index({new_dp, id.cp, id.pp})] = with_inactive_last(layout.cell(id));
    }
  }
  return {ParallelLayout::from_cells(sizes, std::move(cells)), std::move(replicas)};
}

}  // namespace runflat
