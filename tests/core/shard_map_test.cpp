#include "core/shard_map.hpp"

#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <algorithm>
#include <map>
#include <numeric>

using namespace runflat;

namespace {

struct Case {
  std::int64_t units, degree, sync_degree;
};

/// Every (K, N1, N2) up to 24 units over 9 ranks, and the published ones.
std::vector<Case> all_cases() {
  std::vector<Case> cases = {{128, 32, 30},
                             {128, 32, 28},
                             {96, 8, 7},
                             {81920, 32, 30},
                             {8, 8, 6},
                             {128, 64, 62},
                             {49152, 8, 7},
                             {128256, 8, 5},
                             {14336, 8, 7},
                             {72, 72, 68},
                             {100000, 72, 1}};
  for (std::int64_t units = 1; units <= 24; ++units) {
    for (std::int64_t degree = 1; degree <= std::min<std::int64_t>(units, 9); ++degree) {
      for (std::int64_t sync_degree = 1; sync_degree <= degree; ++sync_degree) {
        cases.push_back({units, degree, sync_degree});
      }
    }
  }
  return cases;
}

ShardMaps maps_of(const Case& c) {
  const auto maps = make_shard_maps(c.units, c.degree, c.sync_degree);
  REQUIRE(maps.has_value());
  return *maps;
}

using UnitsOfRank = std::vector<std::vector<std::int64_t>>;

/// What every rank stores, in its order, of a parameter whose unit u holds the number u.
UnitsOfRank stored(const ShardMap& map) {
  UnitsOfRank units(static_cast<std::size_t>(map.degree()));
  for (std::int64_t rank = 0; rank < map.degree(); ++rank) {
    for (const UnitRange& range : map.ranges_of(TpRank(rank))) {
      for (std::int64_t i = 0; i < range.num; ++i) {
        units[static_cast<std::size_t>(rank)].push_back(range.first + i);
      }
    }
  }
  return units;
}

/// Carries out the transfers: a rank that lacks a unit it should send fails the test. Ranks keep
/// their units in ascending order.
UnitsOfRank carried_out(const Reshard& reshard, const UnitsOfRank& units) {
  std::map<std::int64_t, std::size_t> holder;
  for (std::size_t rank = 0; rank < units.size(); ++rank) {
    for (const std::int64_t unit : units[rank]) {
      holder[unit] = rank;
    }
  }
  std::map<std::int64_t, std::size_t> holder_after = holder;
  bool every_sender_holds_its_units = true;
  for (const Transfer& transfer : reshard.transfers()) {
    for (std::int64_t i = 0; i < transfer.units.num; ++i) {
      const std::int64_t unit = transfer.units.first + i;
      every_sender_holds_its_units &=
          holder.at(unit) == transfer.from.index() && holder_after.at(unit) == holder.at(unit);
      holder_after.at(unit) = transfer.to.index();
    }
  }
  REQUIRE(every_sender_holds_its_units);
  UnitsOfRank after(static_cast<std::size_t>(reshard.group_size()));
  for (const auto& [unit, rank] : holder_after) {
    after.at(rank).push_back(unit);
  }
  return after;
}

UnitsOfRank padded(UnitsOfRank units, std::int64_t group_size) {
  units.resize(static_cast<std::size_t>(group_size));
  return units;
}

void check_partition(const ShardMap& map, std::int64_t num_units) {
  std::vector<int> owners(static_cast<std::size_t>(num_units), 0);
  for (const auto& units : stored(map)) {
    CHECK(std::is_sorted(units.begin(), units.end()));
    for (const std::int64_t unit : units) {
      ++owners.at(static_cast<std::size_t>(unit));
    }
  }
  CHECK(owners == std::vector<int>(owners.size(), 1));
}

void check_balanced(const ShardMap& map) {
  std::int64_t least = map.num_units();
  std::int64_t most = 0;
  for (std::int64_t rank = 0; rank < map.degree(); ++rank) {
    least = std::min(least, map.num_units_of(TpRank(rank)));
    most = std::max(most, map.num_units_of(TpRank(rank)));
  }
  CHECK(most - least <= 1);
  CHECK(map.most_units() == most);
  CHECK(most == (map.num_units() + map.degree() - 1) / map.degree());
}

/// C[e][i]: units that extra rank e gets from sync rank i (ntp.md §1.3).
std::vector<std::vector<std::int64_t>> split_matrix(const ShardMaps& maps) {
  const std::int64_t num_sync = maps.sync.degree();
  const Reshard to_extras = Reshard::between(maps.sync, maps.compute);
  std::vector<std::vector<std::int64_t>> matrix;
  for (std::int64_t extra = num_sync; extra < maps.compute.degree(); ++extra) {
    std::vector<std::int64_t> from = to_extras.recv_splits(TpRank(extra));
    from.resize(static_cast<std::size_t>(num_sync));
    matrix.push_back(std::move(from));
  }
  return matrix;
}

}  // namespace

TEST_CASE("both maps own each unit once and are balanced within one", "[core][shard_map]") {
  for (const Case& c : all_cases()) {
    CAPTURE(c.units, c.degree, c.sync_degree);
    const ShardMaps maps = maps_of(c);
    CHECK(maps.compute.degree() == c.degree);
    CHECK(maps.sync == ShardMap::contiguous(c.units, c.sync_degree));
    check_partition(maps.compute, c.units);
    check_partition(maps.sync, c.units);
    check_balanced(maps.compute);
    check_balanced(maps.sync);
  }
}

TEST_CASE("the owner of a unit is the rank that stores it", "[core][shard_map]") {
  for (const Case& c : {Case{128, 32, 30}, Case{96, 8, 7}, Case{24, 9, 5}}) {
    const ShardMaps maps = maps_of(c);
    for (const ShardMap& map : {maps.compute, maps.sync}) {
      const UnitsOfRank units = stored(map);
      for (std::size_t rank = 0; rank < units.size(); ++rank) {
        for (const std::int64_t unit : units[rank]) {
          CHECK(map.owner_of(unit).index() == rank);
        }
      }
      CHECK_THROWS_AS(map.owner_of(-1), InvalidArgument);
      CHECK_THROWS_AS(map.owner_of(c.units), InvalidArgument);
    }
  }
}

TEST_CASE("what a sync rank computes is a prefix of what it synchronises", "[core][shard_map]") {
  for (const Case& c : all_cases()) {
    CAPTURE(c.units, c.degree, c.sync_degree);
    const ShardMaps maps = maps_of(c);
    const UnitsOfRank computed = stored(maps.compute);
    const UnitsOfRank synchronised = stored(maps.sync);
    for (std::size_t i = 0; i < synchronised.size(); ++i) {
      REQUIRE(computed[i].size() <= synchronised[i].size());
      CHECK(std::equal(computed[i].begin(), computed[i].end(), synchronised[i].begin()));
    }
  }
}

TEST_CASE("a reshard applied to `compute` yields `sync`, and its inverse gives `compute` back",
          "[core][shard_map][reshard]") {
  for (const Case& c : all_cases()) {
    CAPTURE(c.units, c.degree, c.sync_degree);
    const ShardMaps maps = maps_of(c);
    const Reshard pre = Reshard::between(maps.compute, maps.sync);
    CHECK(pre.group_size() == c.degree);
    const UnitsOfRank gathered = carried_out(pre, stored(maps.compute));
    CHECK(gathered == padded(stored(maps.sync), c.degree));
    CHECK(carried_out(pre.inverse(), gathered) == stored(maps.compute));
    CHECK(pre.inverse() == Reshard::between(maps.sync, maps.compute));
    CHECK(pre.inverse().inverse() == pre);
  }
}

TEST_CASE("a reshard between any two maps yields the target, and back", "[core][reshard]") {
  tests::Dice dice(1);
  const auto random_map = [&](std::int64_t num_units) {
    std::vector<std::vector<UnitRange>> ranges(static_cast<std::size_t>(dice.between(1, 6)));
    for (std::int64_t first = 0; first < num_units;) {
      const std::int64_t num = dice.between(1, std::min<std::int64_t>(5, num_units - first));
      ranges[dice.index(ranges.size())].push_back({first, num});
      first += num;
    }
    return ShardMap::from_ranges(ranges);
  };
  for (int round = 0; round < 300; ++round) {
    const std::int64_t num_units = dice.between(1, 40);
    const ShardMap from = random_map(num_units);
    const ShardMap to = random_map(num_units);
    const Reshard reshard = Reshard::between(from, to);
    const UnitsOfRank there = carried_out(reshard, stored(from));
    CHECK(there == padded(stored(to), reshard.group_size()));
    CHECK(carried_out(reshard.inverse(), there) == padded(stored(from), reshard.group_size()));
    CHECK(Reshard::between(from, from).transfers().empty());
  }
}

TEST_CASE("the splits of a reshard conserve units and agree between sender and receiver",
          "[core][reshard]") {
  for (const Case& c : all_cases()) {
    CAPTURE(c.units, c.degree, c.sync_degree);
    const ShardMaps maps = maps_of(c);
    const Reshard reshard = Reshard::between(maps.compute, maps.sync);
    std::int64_t sent = 0;
    std::int64_t most_sent = 0;
    std::int64_t most_received = 0;
    for (std::int64_t from = 0; from < c.degree; ++from) {
      const auto sends = reshard.send_splits(TpRank(from));
      const auto recvs = reshard.recv_splits(TpRank(from));
      for (std::int64_t to = 0; to < c.degree; ++to) {
        CHECK(sends[static_cast<std::size_t>(to)] ==
              reshard.recv_splits(TpRank(to))[static_cast<std::size_t>(from)]);
      }
      const auto total = [](const auto& splits) {
        return std::accumulate(splits.begin(), splits.end(), std::int64_t{0});
      };
      sent += total(sends);
      most_sent = std::max(most_sent, total(sends));
      most_received = std::max(most_received, total(recvs));
    }
    CHECK(sent == reshard.num_units_moved());
    CHECK(most_sent == reshard.most_sent());
    CHECK(most_received == reshard.most_received());
  }
}

TEST_CASE("extra ranks give away all they computed and sync ranks receive their surplus",
          "[core][shard_map]") {
  for (const Case& c : all_cases()) {
    CAPTURE(c.units, c.degree, c.sync_degree);
    const ShardMaps maps = maps_of(c);
    const auto matrix = split_matrix(maps);
    // sum_i C[e][i] = comp_e
    for (std::size_t e = 0; e < matrix.size(); ++e) {
      const TpRank extra(c.sync_degree + static_cast<std::int64_t>(e));
      CHECK(std::accumulate(matrix[e].begin(), matrix[e].end(), std::int64_t{0}) ==
            maps.compute.num_units_of(extra));
    }
    // sum_e C[e][i] = sync_i - comp_i
    for (std::int64_t i = 0; i < c.sync_degree; ++i) {
      const std::int64_t surplus =
          maps.sync.num_units_of(TpRank(i)) - maps.compute.num_units_of(TpRank(i));
      std::int64_t given = 0;
      for (const auto& row : matrix) {
        given += row[static_cast<std::size_t>(i)];
      }
      CHECK(given == surplus);
    }
  }
}

TEST_CASE("an extra rank deals evenly with the sync ranks of equal surplus", "[core][shard_map]") {
  for (const Case& c : all_cases()) {
    CAPTURE(c.units, c.degree, c.sync_degree);
    const ShardMaps maps = maps_of(c);
    for (const auto& row : split_matrix(maps)) {
      std::map<std::int64_t, std::vector<std::int64_t>> by_surplus;
      for (std::int64_t i = 0; i < c.sync_degree; ++i) {
        by_surplus[maps.sync.num_units_of(TpRank(i)) - maps.compute.num_units_of(TpRank(i))]
            .push_back(row[static_cast<std::size_t>(i)]);
      }
      for (const auto& [surplus, taken] : by_surplus) {
        const auto [least, most] = std::minmax_element(taken.begin(), taken.end());
        CAPTURE(surplus, *least, *most);
        CHECK(*most - *least <= 1);
      }
    }
  }
}

TEST_CASE("what an extra rank gets from one sync rank is one run of units", "[core][shard_map]") {
  for (const Case& c : all_cases()) {
    CAPTURE(c.units, c.degree, c.sync_degree);
    const ShardMaps maps = maps_of(c);
    const Reshard reshard = Reshard::between(maps.sync, maps.compute);
    std::map<std::pair<std::int64_t, std::int64_t>, int> runs;
    for (const Transfer& transfer : reshard.transfers()) {
      CHECK(transfer.from.value() < c.sync_degree);
      CHECK(transfer.to.value() >= c.sync_degree);
      CHECK(++runs[{transfer.from.value(), transfer.to.value()}] == 1);
    }
  }
}

TEST_CASE("the largest share of attention heads and FFN columns at reduced TP",
          "[core][shard_map][golden]") {
  // ntp.md §1.3: 128 heads: 4 at TP32, 5 at TP30 and TP28.
  CHECK(ShardMap::contiguous(128, 32).most_units() == 4);
  CHECK(ShardMap::contiguous(128, 30).most_units() == 5);
  CHECK(ShardMap::contiguous(128, 28).most_units() == 5);
  CHECK(ShardMap::contiguous(81920, 30).most_units() == 2731);
}

TEST_CASE("8 units over 8 ranks synchronised at 6: two sync ranks take one unit each",
          "[core][shard_map][golden]") {
  // sync shares 2 2 1 1 1 1, compute shares 1 each: surplus 1 1 0 0 0 0, one per extra rank.
  const ShardMaps maps = maps_of({8, 8, 6});
  const std::vector<Transfer> expected = {{TpRank(6), TpRank(0), {1, 1}},
                                          {TpRank(7), TpRank(1), {3, 1}}};
  CHECK(Reshard::between(maps.compute, maps.sync).transfers() == expected);
}

TEST_CASE("many units cost no more than the ranks", "[core][shard_map]") {
  const ShardMaps maps = maps_of({std::int64_t{1} << 40, 72, 64});
  CHECK(maps.compute.num_units() == std::int64_t{1} << 40);
  CHECK(Reshard::between(maps.compute, maps.sync).transfers().size() == 8 * 64);
}

TEST_CASE("fewer units than ranks are replicated evenly where the model allows it",
          "[core][shard_map]") {
  for (std::int64_t units = 1; units <= 8; ++units) {
    for (std::int64_t degree = units; degree <= 24; ++degree) {
      CAPTURE(units, degree);
      const auto map = ShardMap::replicated(units, degree);
      REQUIRE(map.has_value() == (degree % units == 0));
      if (!map) {
        CHECK(map.error().reason.find("cannot be replicated evenly") != std::string::npos);
        continue;
      }
      CHECK(map->num_copies() == degree / units);
      std::vector<std::int64_t> copies(static_cast<std::size_t>(units), 0);
      std::int64_t previous = 0;
      for (const auto& of_rank : stored(*map)) {
        REQUIRE(of_rank.size() == 1);
        CHECK(of_rank[0] >= previous);
        previous = of_rank[0];
        ++copies[static_cast<std::size_t>(of_rank[0])];
      }
      CHECK(copies == std::vector<std::int64_t>(copies.size(), map->num_copies()));
    }
  }
}

TEST_CASE("fewer units than ranks are refused with the reason where they may not be replicated",
          "[core][shard_map]") {
  const auto refused = make_shard_maps(6, 8, 7);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().reason == "6 units are fewer than 8 ranks and may not be replicated");
  const auto uneven = make_shard_maps(6, 8, 7, true);
  REQUIRE_FALSE(uneven.has_value());
  CHECK(uneven.error().reason ==
        "6 units cannot be replicated evenly over 8 ranks; use a degree of at most 6 or one that "
        "6 divides");
  const auto uneven_sync = make_shard_maps(4, 8, 6, true);
  REQUIRE_FALSE(uneven_sync.has_value());
  CHECK(uneven_sync.error().reason.find("over 6 ranks") != std::string::npos);
  const auto even = make_shard_maps(4, 16, 8, true);
  REQUIRE(even.has_value());
  CHECK(even->compute.num_copies() == 4);
  CHECK(even->sync.num_copies() == 2);
  const auto whole_sync = make_shard_maps(4, 8, 3, true);
  REQUIRE(whole_sync.has_value());
  CHECK(whole_sync->compute.num_copies() == 2);
  CHECK(whole_sync->sync == ShardMap::contiguous(4, 3));
}

TEST_CASE("maps and reshards refuse what would lose or double a unit", "[core][shard_map]") {
  CHECK_THROWS_AS(ShardMap::contiguous(3, 4), InvalidArgument);
  CHECK_THROWS_AS(ShardMap::contiguous(3, 0), InvalidArgument);
  CHECK_THROWS_AS(ShardMap::from_ranges({{{0, 2}}, {{1, 2}}}), InvalidArgument);
  CHECK_THROWS_AS(ShardMap::from_ranges({{{0, 2}}, {{3, 1}}}), InvalidArgument);
  CHECK_THROWS_AS(ShardMap::from_ranges({{{2, 1}, {0, 2}}}), InvalidArgument);
  CHECK_THROWS_AS(ShardMap::from_ranges({{{0, 0}}}), InvalidArgument);
  CHECK_THROWS_AS(Reshard::between(ShardMap::contiguous(4, 2), ShardMap::contiguous(5, 2)),
                  InvalidArgument);
  CHECK_THROWS_AS(Reshard::between(*ShardMap::replicated(2, 4), ShardMap::contiguous(2, 2)),
                  InvalidArgument);
  CHECK_THROWS_AS(make_shard_maps(8, 4, 5), InvalidArgument);
}
