#include "core/shard_map.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <tuple>

namespace runflat {
namespace {

using RangesOfRank = std::vector<std::vector<UnitRange>>;

/// The balanced share of `index` when `num` units go to `parts`, the first ones getting the rest.
std::int64_t balanced_share(std::int64_t num, std::int64_t parts, std::int64_t index) {
  return num / parts + (index < num % parts ? 1 : 0);
}

void append(std::vector<UnitRange>& ranges, UnitRange range) {
  if (range.num == 0) {
    return;
  }
  if (!ranges.empty() && ranges.back().first + ranges.back().num == range.first) {
    ranges.back().num += range.num;
  } else {
    ranges.push_back(range);
  }
}

/// How many units every extra rank takes from every sync rank: [extra][sync rank]. The extras are
/// served in order, one unit at a time from the sync ranks in turn that still have surplus; the
/// turn is kept between extras. Computed in whole rounds, so that 10^5 units cost no more than the
/// ranks.
std::vector<std::vector<std::int64_t>> deal_surplus(std::vector<std::int64_t> surplus,
                                                    const std::vector<std::int64_t>& wanted) {
  const std::size_t num_sync = surplus.size();
  std::vector<std::vector<std::int64_t>> taken(wanted.size(),
                                               std::vector<std::int64_t>(num_sync, 0));
  std::size_t turn = 0;
  for (std::size_t extra = 0; extra < wanted.size(); ++extra) {
    std::int64_t left = wanted[extra];
    while (left > 0) {
      std::int64_t givers = 0;
      std::int64_t least = left;
      for (const std::int64_t units : surplus) {
        givers += units > 0 ? 1 : 0;
        least = units > 0 ? std::min(least, units) : least;
      }
      require(givers > 0, "extra ranks want more units than the sync ranks can give");
      const std::int64_t rounds = std::min(least, left / givers);
      if (rounds > 0) {
        for (std::size_t i = 0; i < num_sync; ++i) {
          const std::int64_t units = surplus[i] > 0 ? rounds : 0;
          surplus[i] -= units;
          taken[extra][i] += units;
          left -= units;
        }
        continue;
      }
      if (surplus[turn] > 0) {
        --surplus[turn];
        ++taken[extra][turn];
        --left;
      }
      turn = (turn + 1) % num_sync;
    }
  }
  return taken;
}

ShardMaps nonuniform_maps(std::int64_t num_units, std::int64_t degree, std::int64_t sync_degree) {
  const auto num_sync = static_cast<std::size_t>(sync_degree);
  const auto num_ranks = static_cast<std::size_t>(degree);
  const ShardMap sync = ShardMap::contiguous(num_units, sync_degree);
  std::vector<std::int64_t> surplus(num_sync);
  for (std::size_t i = 0; i < num_sync; ++i) {
    const auto index = static_cast<std::int64_t>(i);
    surplus[i] =
        balanced_share(num_units, sync_degree, index) - balanced_share(num_units, degree, index);
  }
  std::vector<std::int64_t> wanted(num_ranks - num_sync);
  for (std::size_t e = 0; e < wanted.size(); ++e) {
    wanted[e] = balanced_share(num_units, degree, sync_degree + static_cast<std::int64_t>(e));
  }
  const auto taken = deal_surplus(surplus, wanted);
  RangesOfRank compute(num_ranks);
  for (std::size_t i = 0; i < num_sync; ++i) {
    std::int64_t next = sync.ranges_of(TpRank(static_cast<std::int64_t>(i))).front().first;
    const auto assign = [&](std::size_t rank, std::int64_t num) {
      append(compute[rank], {next, num});
      next += num;
    };
    assign(i, balanced_share(num_units, degree, static_cast<std::int64_t>(i)));
    for (std::size_t e = 0; e < wanted.size(); ++e) {
      assign(num_sync + e, taken[e][i]);
    }
  }
  return {.compute = ShardMap::from_ranges(std::move(compute)), .sync = sync};
}

}  // namespace

ShardMap ShardMap::contiguous(std::int64_t num_units, std::int64_t degree) {
  require(degree >= 1 && num_units >= degree,
          fmt::format("{} units cannot be divided over {} ranks", num_units, degree));
  RangesOfRank ranges(static_cast<std::size_t>(degree));
  std::int64_t first = 0;
  for (std::int64_t rank = 0; rank < degree; ++rank) {
    const std::int64_t num = balanced_share(num_units, degree, rank);
    ranges[static_cast<std::size_t>(rank)].push_back({first, num});
    first += num;
  }
  return ShardMap(std::move(ranges), num_units, 1);
}

ShardMap ShardMap::from_ranges(RangesOfRank ranges_of_rank) {
  std::vector<UnitRange> all;
  for (const auto& ranges : ranges_of_rank) {
    for (std::size_t i = 1; i < ranges.size(); ++i) {
      require(ranges[i - 1].first < ranges[i].first, "a rank's units must be in ascending order");
    }
    all.insert(all.end(), ranges.begin(), ranges.end());
  }
  std::sort(all.begin(), all.end(), [](const UnitRange& a, const UnitRange& b) {
    return a.first < b.first;
  });
  std::int64_t next = 0;
  for (const UnitRange& range : all) {
    require(range.num > 0 && range.first == next,
            fmt::format("unit {} must have exactly one owner", std::min(next, range.first)));
    next += range.num;
  }
  return ShardMap(std::move(ranges_of_rank), next, 1);
}

Expected<ShardMap, Infeasible> ShardMap::replicated(std::int64_t num_units, std::int64_t degree) {
  require(num_units >= 1 && degree >= num_units, "a replicated map has fewer units than ranks");
  if (degree % num_units != 0) {
    return Infeasible{
        fmt::format("{} units cannot be replicated evenly over {} ranks; use a degree of at most "
                    "{} or one that "
                    "{} divides",
                    num_units,
                    degree,
                    num_units,
                    num_units)};
  }
  const std::int64_t copies = degree / num_units;
  RangesOfRank ranges;
  for (std::int64_t rank = 0; rank < degree; ++rank) {
    ranges.push_back({{rank / copies, 1}});
  }
  return ShardMap(std::move(ranges), num_units, copies);
}

std::int64_t ShardMap::num_units_of(TpRank rank) const {
  std::int64_t total = 0;
  for (const UnitRange& range : ranges_of(rank)) {
    total += range.num;
  }
  return total;
}

std::int64_t ShardMap::most_units() const {
  std::int64_t most = 0;
  for (std::int64_t rank = 0; rank < degree(); ++rank) {
    most = std::max(most, num_units_of(TpRank(rank)));
  }
  return most;
}

TpRank ShardMap::owner_of(std::int64_t unit) const {
  for (std::int64_t rank = 0; rank < degree(); ++rank) {
    for (const UnitRange& range : ranges_of(TpRank(rank))) {
      if (unit >= range.first && unit < range.first + range.num) {
        return TpRank(rank);
      }
    }
  }
  throw InvalidArgument(fmt::format("unit {} is not one of {}", unit, num_units_));
}

Expected<ShardMaps, Infeasible> make_shard_maps(std::int64_t num_units,
                                                std::int64_t degree,
                                                std::int64_t sync_degree,
                                                bool may_replicate) {
  require(sync_degree >= 1 && sync_degree <= degree, "sync_degree must be from 1 to degree");
  require(num_units >= 1, "a parameter has at least one unit");
  if (num_units >= degree) {
    return nonuniform_maps(num_units, degree, sync_degree);
  }
  if (!may_replicate) {
    return Infeasible{fmt::format(
        "{} units are fewer than {} ranks and may not be replicated", num_units, degree)};
  }
  Expected<ShardMap, Infeasible> compute = ShardMap::replicated(num_units, degree);
  if (!compute) {
    return compute.error();
  }
  if (num_units >= sync_degree) {
    return ShardMaps{.compute = *compute, .sync = ShardMap::contiguous(num_units, sync_degree)};
  }
  Expected<ShardMap, Infeasible> sync = ShardMap::replicated(num_units, sync_degree);
  if (!sync) {
    return sync.error();
  }
  return ShardMaps{.compute = *compute, .sync = *sync};
}

Reshard::Reshard(std::vector<Transfer> transfers, std::int64_t group_size)
    : transfers_(std::move(transfers)), group_size_(group_size) {
  std::sort(transfers_.begin(), transfers_.end(), [](const Transfer& a, const Transfer& b) {
    return std::tuple(a.from, a.to, a.units.first) < std::tuple(b.from, b.to, b.units.first);
  });
}

Reshard Reshard::between(const ShardMap& from, const ShardMap& to) {
  require(from.num_units() == to.num_units(), "a reshard keeps the units");
  require(from.num_copies() == 1 && to.num_copies() == 1,
          "a replicated parameter is reduced among its copies and not resharded");
  struct Owned {
    UnitRange units;
    TpRank rank;
  };
  const auto sorted_runs = [](const ShardMap& map) {
    std::vector<Owned> runs;
    for (std::int64_t rank = 0; rank < map.degree(); ++rank) {
      for (const UnitRange& range : map.ranges_of(TpRank(rank))) {
        runs.push_back({range, TpRank(rank)});
      }
    }
    std::sort(runs.begin(), runs.end(), [](const Owned& a, const Owned& b) {
      return a.units.first < b.units.first;
    });
    return runs;
  };
  const std::vector<Owned> sources = sorted_runs(from);
  const std::vector<Owned> targets = sorted_runs(to);
  std::vector<Transfer> transfers;
  auto source = sources.begin();
  auto target = targets.begin();
  for (std::int64_t unit = 0; unit < from.num_units();) {
    const std::int64_t source_end = source->units.first + source->units.num;
    const std::int64_t target_end = target->units.first + target->units.num;
    const std::int64_t end = std::min(source_end, target_end);
    if (source->rank != target->rank) {
      transfers.push_back({source->rank, target->rank, {unit, end - unit}});
    }
    source += source_end == end ? 1 : 0;
    target += target_end == end ? 1 : 0;
    unit = end;
  }
  return Reshard(std::move(transfers), std::max(from.degree(), to.degree()));
}

std::vector<std::int64_t> Reshard::send_splits(TpRank rank) const {
  std::vector<std::int64_t> splits(static_cast<std::size_t>(group_size_), 0);
  for (const Transfer& transfer : transfers_) {
    splits[transfer.to.index()] += transfer.from == rank ? transfer.units.num : 0;
  }
  return splits;
}

std::vector<std::int64_t> Reshard::recv_splits(TpRank rank) const {
  return inverse().send_splits(rank);
}

std::int64_t Reshard::num_units_moved() const {
  std::int64_t total = 0;
  for (const Transfer& transfer : transfers_) {
    total += transfer.units.num;
  }
  return total;
}

std::int64_t Reshard::most_sent() const {
  std::vector<std::int64_t> sent(static_cast<std::size_t>(group_size_), 0);
  for (const Transfer& transfer : transfers_) {
    sent[transfer.from.index()] += transfer.units.num;
  }
  return sent.empty() ? 0 : *std::max_element(sent.begin(), sent.end());
}

std::int64_t Reshard::most_received() const {
  return inverse().most_sent();
}

Reshard Reshard::inverse() const {
  std::vector<Transfer> reversed = transfers_;
  for (Transfer& transfer : reversed) {
    std::swap(transfer.from, transfer.to);
  }
  return Reshard(std::move(reversed), group_size_);
}

}  // namespace runflat
