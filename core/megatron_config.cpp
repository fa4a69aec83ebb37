#include "core/megatron_config.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <set>
#include <string_view>

namespace runflat {
namespace {

/// Slots by cell, ascending.
using SlotsOfCell = std::map<CellId, std::vector<std::int64_t>>;

std::vector<InactiveSlots> to_list(const SlotsOfCell& slots_of_cell) {
  std::vector<InactiveSlots> list;
  for (const auto& [cell, slots] : slots_of_cell) {
    list.push_back({cell, slots});
  }
  return list;
}

std::int64_t most_slots(const std::vector<InactiveSlots>& inactive) {
  std::size_t most = 0;
  for (const InactiveSlots& entry : inactive) {
    most = std::max(most, entry.slots.size());
  }
  return static_cast<std::int64_t>(most);
}

/// The numbers of "0,1,0", "(0, 1, 0)" or "0"; nothing for any other text.
std::vector<std::int64_t> parse_key(std::string_view key) {
  if (key.size() >= 2 && key.front() == '(' && key.back() == ')') {
    key = key.substr(1, key.size() - 2);
  }
  std::vector<std::int64_t> numbers;
  const auto skip_blanks = [&key] {
    key.remove_prefix(std::min(key.find_first_not_of(' '), key.size()));
  };
  while (true) {
    skip_blanks();
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), number);
    if (error != std::errc()) {
      return {};
    }
    key.remove_prefix(static_cast<std::size_t>(end - key.data()));
    skip_blanks();
    numbers.push_back(number);
    if (key.empty()) {
      return numbers;
    }
    if (key.front() != ',') {
      return {};
    }
    key.remove_prefix(1);
  }
}

std::vector<std::int64_t> read_slots(const Reader& in, std::int64_t tp_base) {
  std::vector<std::int64_t> slots = in.integers(0, tp_base - 1);
  std::sort(slots.begin(), slots.end());
  if (std::adjacent_find(slots.begin(), slots.end()) != slots.end()) {
    in.reject("names a slot twice");
  }
  if (static_cast<std::int64_t>(slots.size()) == tp_base) {
    in.reject(fmt::format("leaves none of the {} slots active; drop the replica instead", tp_base));
  }
  return slots;
}

/// Calls visit for every cell of a replica.
template <typename Visit>
void for_each_cell(const ParallelSizes& sizes, DpRank dp, Visit visit) {
  for (std::int64_t cp = 0; cp < sizes.cp; ++cp) {
    for (std::int64_t pp = 0; pp < sizes.pp; ++pp) {
      visit(CellId{dp, CpRank(cp), PpRank(pp)});
    }
  }
}

void require_all_cp_slices(const Reader& in,
                           const ParallelSizes& sizes,
                           const SlotsOfCell& slots_of_cell) {
  for (const auto& [cell, slots] : slots_of_cell) {
    for (std::int64_t cp = 0; cp < sizes.cp; ++cp) {
      if (!slots_of_cell.contains({cell.dp, CpRank(cp), cell.pp})) {
        in.reject(fmt::format("names (dp {}, cp {}, pp {}) but not cp {}; expected every CP slice",
                              cell.dp.value(),
                              cell.cp.value(),
                              cell.pp.value(),
                              cp));
      }
    }
  }
}

SlotsOfCell read_map(const Reader& in, const ParallelSizes& sizes) {
  SlotsOfCell of_cells;
  SlotsOfCell of_replicas;  // spread over the cells that are not named themselves
  ObjectReader members = in.object();
  for (const std::string& key : in.keys()) {
    const Reader member = members.at(key);
    const std::vector<std::int64_t> at = parse_key(key);
    const bool is_cell = at.size() == 3;
    const auto inside = [](std::int64_t i, std::int64_t size) { return i >= 0 && i < size; };
    if ((!is_cell && at.size() != 1) || !inside(at[0], sizes.dp) ||
        (is_cell && (!inside(at[1], sizes.cp) || !inside(at[2], sizes.pp)))) {
      member.reject(fmt::format(
          "expected a key \"dp,cp,pp\" or \"dp\" inside dp {} x cp {} x pp {}, found \"{}\"",
          sizes.dp,
          sizes.cp,
          sizes.pp,
          key));
    }
    SlotsOfCell& target = is_cell ? of_cells : of_replicas;
    const CellId cell = is_cell ? CellId{DpRank(at[0]), CpRank(at[1]), PpRank(at[2])}
                                : CellId{DpRank(at[0]), CpRank(0), PpRank(0)};
    if (!target.emplace(cell, read_slots(member, sizes.tp)).second) {
      member.reject("names the same cell as another key");
    }
  }
  for (const auto& replica : of_replicas) {
    for_each_cell(sizes, replica.first.dp, [&](const CellId& cell) {
      of_cells.emplace(cell, replica.second);
    });
  }
  require_all_cp_slices(in, sizes, of_cells);
  return of_cells;
}

}  // namespace

std::vector<InactiveSlots> pad_to_parity(std::vector<InactiveSlots> inactive,
                                         std::int64_t tp_base,
                                         std::int64_t tp_spares) {
  require(tp_spares >= 0 && tp_spares < tp_base, "tp_spares must be in [0, tp_base)");
  for (InactiveSlots& entry : inactive) {
    std::vector<std::int64_t>& slots = entry.slots;
    std::sort(slots.begin(), slots.end());
    require(std::adjacent_find(slots.begin(), slots.end()) == slots.end() &&
                (slots.empty() || (slots.front() >= 0 && slots.back() < tp_base)),
            "inactive slots must be distinct and in [0, tp_base)");
    require(static_cast<std::int64_t>(slots.size()) <= tp_spares,
            "a cell has more inactive slots than tp_spares");
    for (std::int64_t slot = tp_base - 1; static_cast<std::int64_t>(slots.size()) < tp_spares;
         --slot) {
      const auto place = std::lower_bound(slots.begin(), slots.end(), slot);
      if (place == slots.end() || *place != slot) {
        slots.insert(place, slot);
      }
    }
  }
  return inactive;
}

MegatronNtpConfig make_megatron_ntp(std::int64_t tp_base,
                                    std::vector<InactiveSlots> inactive,
                                    std::optional<std::int64_t> tp_spares) {
  std::sort(inactive.begin(), inactive.end(), [](const auto& a, const auto& b) {
    return a.cell < b.cell;
  });
  const std::int64_t spares = tp_spares.value_or(most_slots(inactive));
  std::set<DpRank> replicas;
  for (const InactiveSlots& entry : inactive) {
    replicas.insert(entry.cell.dp);
  }
  if (spares == 0) {
    require(most_slots(inactive) == 0, "a cell has more inactive slots than tp_spares");
    return {.tp_base = tp_base, .non_active_ranks_per_dp = {}};
  }
  return {.tp_base = tp_base,
          .tp_spares = spares,
          .num_reduced_tp_dp_ranks = static_cast<std::int64_t>(replicas.size()),
          .non_active_ranks_per_dp = pad_to_parity(std::move(inactive), tp_base, spares)};
}

std::vector<InactiveSlots> read_inactive_slots(const Reader& in, const ParallelSizes& sizes) {
  return to_list(read_map(in, sizes));
}

MegatronNtpConfig read_megatron_ntp(const Reader& in, const ParallelSizes& sizes) {
  ObjectReader members = in.object();
  if (const auto member = members.find("tp_base"); member && member->integer() != sizes.tp) {
    member->reject(
        fmt::format("expected the tensor parallel size {}, found {}", sizes.tp, member->integer()));
  }
  const std::optional<Reader> spares = members.find("tp_spares");
  const std::optional<Reader> replicas = members.find("num_reduced_tp_dp_ranks");
  const std::optional<Reader> map = members.find("non_active_ranks_per_dp");
  members.finish();

  std::vector<InactiveSlots> inactive;
  const std::int64_t num_reduced = replicas ? replicas->integer(0, sizes.dp) : 1;
  const bool has_map = map && !map->keys().empty();
  if (has_map) {
    inactive = read_inactive_slots(*map, sizes);
  } else {
    for (std::int64_t dp = 0; dp < num_reduced; ++dp) {
      for_each_cell(sizes, DpRank(dp), [&](const CellId& cell) { inactive.push_back({cell, {}}); });
    }
  }
  const std::int64_t most = most_slots(inactive);
  const std::int64_t tp_spares = spares ? spares->integer(0, sizes.tp - 1) : most;
  if (most > tp_spares) {
    map->reject(fmt::format("a list has {} slots, but tp_spares is {}", most, tp_spares));
  }
  MegatronNtpConfig config = make_megatron_ntp(sizes.tp, std::move(inactive), tp_spares);
  if (has_map && replicas && num_reduced != config.num_reduced_tp_dp_ranks) {
    replicas->reject(fmt::format("expected {}, the replicas of non_active_ranks_per_dp, found {}",
                                 config.num_reduced_tp_dp_ranks,
                                 num_reduced));
  }
  return config;
}

Value to_value(const MegatronNtpConfig& config) {
  Value::Object map;
  for (const InactiveSlots& entry : config.non_active_ranks_per_dp) {
    map.emplace_back(
        fmt::format(
            "{},{},{}", entry.cell.dp.value(), entry.cell.cp.value(), entry.cell.pp.value()),
        Value::array_of(entry.slots));
  }
  return Value::Object{{"tp_base", config.tp_base},
                       {"tp_spares", config.tp_spares},
                       {"num_reduced_tp_dp_ranks", config.num_reduced_tp_dp_ranks},
                       {"non_active_ranks_per_dp", std::move(map)}};
}

ParallelLayout to_layout(const MegatronNtpConfig& config, const ParallelSizes& sizes) {
  require(config.tp_base == sizes.tp, "tp_base must be the tensor parallel size");
  return ParallelLayout::nonuniform(sizes, config.non_active_ranks_per_dp);
}

}  // namespace runflat
