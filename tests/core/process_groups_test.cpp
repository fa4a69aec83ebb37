#include "core/process_groups.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <tuple>

namespace runflat {
namespace {

using RankLists = std::vector<std::vector<std::int64_t>>;

RankLists lists_of(const std::vector<ProcessGroup>& groups, GroupKind kind) {
  RankLists lists;
  for (const std::vector<Rank>& ranks : groups_of(groups, kind)) {
    lists.emplace_back();
    for (const Rank rank : ranks) {
      lists.back().push_back(rank.value());
    }
  }
  return lists;
}

RankLists first_lists(const std::vector<ProcessGroup>& groups, GroupKind kind, std::size_t count) {
  RankLists lists = lists_of(groups, kind);
  lists.resize(std::min(lists.size(), count));
  return lists;
}

/// Random degrees, orders and failed slots. Expert parallelism only where the order allows it.
ParallelLayout random_layout(std::mt19937& random) {
  const auto between = [&random](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  ParallelSizes sizes{
      .tp = between(1, 6), .cp = between(1, 3), .dp = between(1, 4), .pp = between(1, 3)};
  sizes.etp = sizes.tp;
  const std::vector<std::string> orders = {
      "tp-cp-ep-dp-pp", "tp-ep-cp-dp-pp", "dp-tp-cp-ep-pp", "tp-cp-ep-pp-dp", "CP-TP-EP-DP-PP"};
  sizes.order = orders[static_cast<std::size_t>(between(0, 4))];
  if (sizes.order.back() != 'p' || sizes.order.find("pp-dp") == std::string::npos) {
    sizes.etp = between(0, 1) == 0 ? 1 : sizes.tp;
    const std::int64_t rest = sizes.tp * sizes.cp * sizes.dp / sizes.etp;
    sizes.ep = between(0, 1) == 0 ? 1 : rest;
  } else {
    sizes.ep = sizes.cp;  // the expert data parallel size must equal dp
  }
  std::vector<InactiveSlots> inactive;
  for (std::int64_t dp = 0; dp < sizes.dp; ++dp) {
    for (std::int64_t cp = 0; cp < sizes.cp; ++cp) {
      for (std::int64_t pp = 0; pp < sizes.pp; ++pp) {
        std::vector<std::int64_t> slots;
        for (std::int64_t slot = 0; slot < sizes.tp; ++slot) {
          if (between(0, 3) == 0 && static_cast<std::int64_t>(slots.size()) + 1 < sizes.tp) {
            slots.push_back(slot);
          }
        }
        inactive.push_back({{DpRank(dp), CpRank(cp), PpRank(pp)}, slots});
      }
    }
  }
  return between(0, 3) == 0 ? ParallelLayout::uniform(sizes)
                            : ParallelLayout::nonuniform(sizes, inactive);
}

std::int64_t largest_divisor(std::int64_t a, std::int64_t b) {
  return b == 0 ? a : largest_divisor(b, a % b);
}

constexpr std::array<GroupKind, 18> kPartitions = {GroupKind::dp_cp,
                                                   GroupKind::intra_dp_cp,
                                                   GroupKind::dp,
                                                   GroupKind::cp,
                                                   GroupKind::mp,
                                                   GroupKind::tp,
                                                   GroupKind::pp,
                                                   GroupKind::tp_dp_cp,
                                                   GroupKind::tp_dp,
                                                   GroupKind::tp_cp,
                                                   GroupKind::ep,
                                                   GroupKind::ep_tp,
                                                   GroupKind::tp_ep_mp,
                                                   GroupKind::tp_ep_pp,
                                                   GroupKind::ep_dp,
                                                   GroupKind::intra_ep_dp,
                                                   GroupKind::inter_ep_dp,
                                                   GroupKind::intra_dist_opt_instance};

/// The coordinates that all ranks of a group of a dense kind have in common.
std::vector<std::int64_t> common_coordinates(const Coordinate& at, GroupKind kind) {
  const std::int64_t tp = at.tp.value();
  const std::int64_t cp = at.cp.value();
  const std::int64_t dp = at.dp.value();
  const std::int64_t pp = at.pp.value();
  switch (kind) {
    case GroupKind::dp_cp:
      return {tp, pp};
    case GroupKind::dp:
      return {tp, cp, pp};
    case GroupKind::cp:
      return {tp, dp, pp};
    case GroupKind::mp:
      return {cp, dp};
    case GroupKind::tp:
      return {cp, dp, pp};
    case GroupKind::pp:
      return {tp, cp, dp};
    case GroupKind::tp_dp_cp:
      return {pp};
    case GroupKind::tp_dp:
      return {cp, pp};
    case GroupKind::tp_cp:
      return {dp, pp};
    default:
      return {};
  }
}

}  // namespace

TEST_CASE("the groups of every kind partition the active ranks", "[core][process_groups]") {
  std::mt19937 random(11);
  for (int trial = 0; trial < 150; ++trial) {
    const ParallelLayout layout = random_layout(random);
    const ParallelSizes& sizes = layout.sizes();
    const std::int64_t edp = sizes.tp * sizes.cp * sizes.dp / (sizes.etp * sizes.ep);
    const std::int64_t num_instances = largest_divisor(sizes.dp * sizes.cp, edp);
    const auto groups = make_process_groups(layout, num_instances);
    INFO("tp " << sizes.tp << " cp " << sizes.cp << " dp " << sizes.dp << " pp " << sizes.pp
               << " ep " << sizes.ep << " etp " << sizes.etp << " " << sizes.order);
    for (const GroupKind kind : kPartitions) {
      std::vector<std::int64_t> seen;
      for (const auto& ranks : lists_of(groups, kind)) {
        CHECK_FALSE(ranks.empty());
        seen.insert(seen.end(), ranks.begin(), ranks.end());
      }
      std::sort(seen.begin(), seen.end());
      std::vector<std::int64_t> all(static_cast<std::size_t>(layout.num_ranks()));
      std::iota(all.begin(), all.end(), 0);
      INFO(name_of(kind));
      const bool only_with_instances = name_of(kind).substr(0, 4) == "inte" ||
                                       kind == GroupKind::intra_dp_cp ||
                                       kind == GroupKind::intra_ep_dp;
      CHECK(seen ==
            (only_with_instances && num_instances == 1 ? std::vector<std::int64_t>{} : all));
    }
  }
}

TEST_CASE("two ranks share a group exactly if they agree on the other axes",
          "[core][process_groups]") {
  std::mt19937 random(12);
  for (int trial = 0; trial < 100; ++trial) {
    const ParallelLayout layout = random_layout(random);
    const auto groups = make_process_groups(layout);
    for (const GroupKind kind : kPartitions) {
      if (common_coordinates({}, kind).empty()) {
        continue;
      }
      std::map<std::vector<std::int64_t>, std::set<std::int64_t>> expected;
      for (std::int64_t rank = 0; rank < layout.num_ranks(); ++rank) {
        expected[common_coordinates(layout.coordinate_of(Rank(rank)), kind)].insert(rank);
      }
      const RankLists lists = lists_of(groups, kind);
      CHECK(lists.size() == expected.size());
      for (const auto& ranks : lists) {
        const auto& peers =
            expected.at(common_coordinates(layout.coordinate_of(Rank(ranks[0])), kind));
        CHECK(std::set<std::int64_t>(ranks.begin(), ranks.end()) == peers);
        // Members follow the order of ranks.
        CHECK(std::is_sorted(ranks.begin(), ranks.end()));
      }
    }
  }
}

TEST_CASE("embedding groups hold the first and last stage, wherever slots have failed",
          "[core][process_groups]") {
  std::mt19937 random(13);
  for (int trial = 0; trial < 100; ++trial) {
    const ParallelLayout layout = random_layout(random);
    const std::int64_t last = layout.sizes().pp - 1;
    const auto groups = make_process_groups(layout);
    std::set<std::int64_t> ends;
    std::set<std::int64_t> firsts;
    for (std::int64_t rank = 0; rank < layout.num_ranks(); ++rank) {
      const std::int64_t pp = layout.coordinate_of(Rank(rank)).pp.value();
      if (pp == 0) {
        firsts.insert(rank);
      }
      if (pp == 0 || pp == last) {
        ends.insert(rank);
      }
    }
    std::set<std::int64_t> in_embd;
    for (const auto& ranks : lists_of(groups, GroupKind::embd)) {
      const Coordinate first = layout.coordinate_of(Rank(ranks.front()));
      for (const std::int64_t rank : ranks) {
        const Coordinate at = layout.coordinate_of(Rank(rank));
        CHECK((at.tp == first.tp && at.cp == first.cp && at.dp == first.dp));
        CHECK(in_embd.insert(rank).second);
      }
    }
    CHECK(in_embd == ends);
    std::set<std::int64_t> in_pos_embd;
    for (const auto& ranks : lists_of(groups, GroupKind::pos_embd)) {
      CHECK(ranks.size() == 1);
      in_pos_embd.insert(ranks.front());
    }
    CHECK(in_pos_embd == firsts);
  }
}

TEST_CASE("expert groups follow rank = etp + ETP (ep + EP (edp + EDP pp))",
          "[core][process_groups]") {
  for (const std::int64_t etp : {1, 2, 4}) {
    for (const std::int64_t ep : {1, 2, 4}) {
      const ParallelSizes sizes{.tp = 4, .cp = 2, .ep = ep, .dp = 2, .pp = 3, .etp = etp};
      const std::int64_t edp = 16 / (etp * ep);
      const auto groups = make_process_groups(ParallelLayout::uniform(sizes));
      const auto check = [&](GroupKind kind, auto key_of, std::size_t size) {
        for (const auto& ranks : lists_of(groups, kind)) {
          CHECK(ranks.size() == size);
          for (const std::int64_t rank : ranks) {
            CHECK(key_of(rank) == key_of(ranks.front()));
          }
        }
      };
      const auto etp_of = [=](std::int64_t rank) { return rank % etp; };
      const auto ep_of = [=](std::int64_t rank) { return rank / etp % ep; };
      const auto edp_of = [=](std::int64_t rank) { return rank / etp / ep % edp; };
      const auto pp_of = [=](std::int64_t rank) { return rank / etp / ep / edp; };
      check(
          GroupKind::ep,
          [=](auto r) { return std::tuple(etp_of(r), edp_of(r), pp_of(r)); },
          static_cast<std::size_t>(ep));
      check(
          GroupKind::ep_tp,
          [=](auto r) { return std::tuple(ep_of(r), edp_of(r), pp_of(r)); },
          static_cast<std::size_t>(etp));
      check(
          GroupKind::ep_dp,
          [=](auto r) { return std::tuple(etp_of(r), ep_of(r), pp_of(r)); },
          static_cast<std::size_t>(edp));
      check(
          GroupKind::tp_ep_mp,
          [=](auto r) { return std::tuple(edp_of(r), pp_of(r)); },
          static_cast<std::size_t>(etp * ep));
    }
  }
}

// Published vectors: reference/training-engine.md §1.1.

TEST_CASE("16 ranks of TP2 CP2 DP2 PP2 have Megatron's groups", "[core][process_groups][golden]") {
  const ParallelLayout layout =
      ParallelLayout::uniform({.tp = 2, .cp = 2, .dp = 2, .pp = 2, .etp = 2});
  const auto groups = make_process_groups(layout);
  CHECK(layout.rank_of(Coordinate{TpRank(1), CpRank(0), DpRank(1), PpRank(1)}) == Rank(13));
  CHECK(first_lists(groups, GroupKind::tp, 2) == RankLists{{0, 1}, {2, 3}});
  CHECK(first_lists(groups, GroupKind::cp, 5) ==
        RankLists{{0, 2}, {1, 3}, {4, 6}, {5, 7}, {8, 10}});
  CHECK(first_lists(groups, GroupKind::dp, 5) ==
        RankLists{{0, 4}, {1, 5}, {2, 6}, {3, 7}, {8, 12}});
  CHECK(first_lists(groups, GroupKind::pp, 2) == RankLists{{0, 8}, {1, 9}});
  CHECK(lists_of(groups, GroupKind::dp_cp) ==
        RankLists{{0, 2, 4, 6}, {1, 3, 5, 7}, {8, 10, 12, 14}, {9, 11, 13, 15}});
  CHECK(first_lists(groups, GroupKind::mp, 2) == RankLists{{0, 1, 8, 9}, {2, 3, 10, 11}});
  CHECK(first_lists(groups, GroupKind::tp_cp, 1) == RankLists{{0, 1, 2, 3}});
  CHECK(first_lists(groups, GroupKind::embd, 2) == RankLists{{0, 8}, {1, 9}});
  CHECK(first_lists(groups, GroupKind::pos_embd, 2) == RankLists{{0}, {1}});
}

TEST_CASE("16 ranks of ETP1 EP4 EDP2 PP2 have Megatron's expert groups",
          "[core][process_groups][golden]") {
  const auto groups = make_process_groups(
      ParallelLayout::uniform({.tp = 2, .cp = 2, .ep = 4, .dp = 2, .pp = 2, .etp = 1}));
  CHECK(first_lists(groups, GroupKind::ep, 2) == RankLists{{0, 1, 2, 3}, {4, 5, 6, 7}});
  CHECK(first_lists(groups, GroupKind::ep_dp, 5) ==
        RankLists{{0, 4}, {1, 5}, {2, 6}, {3, 7}, {8, 12}});
  CHECK(lists_of(groups, GroupKind::tp_ep_pp) ==
        RankLists{{0, 1, 2, 3, 8, 9, 10, 11}, {4, 5, 6, 7, 12, 13, 14, 15}});
}

TEST_CASE("order tp-cp-ep-pp-dp has Megatron's groups", "[core][process_groups][golden]") {
  const auto groups = make_process_groups(
      ParallelLayout::uniform({.tp = 2, .dp = 2, .pp = 2, .etp = 2, .order = "tp-cp-ep-pp-dp"}));
  CHECK(first_lists(groups, GroupKind::tp, 1) == RankLists{{0, 1}});
  CHECK(lists_of(groups, GroupKind::pp) == RankLists{{0, 2}, {1, 3}, {4, 6}, {5, 7}});
  CHECK(lists_of(groups, GroupKind::dp) == RankLists{{0, 4}, {1, 5}, {2, 6}, {3, 7}});
}

TEST_CASE("groups are created in Megatron's order, dp_cp first", "[core][process_groups][golden]") {
  const auto groups = make_process_groups(
      ParallelLayout::uniform({.tp = 1, .cp = 2, .ep = 2, .dp = 4, .pp = 2, .etp = 1}), 2);
  std::vector<std::string> names;
  for (const ProcessGroup& group : groups) {
    if (std::find(names.begin(), names.end(), name_of(group.kind)) == names.end()) {
      names.emplace_back(name_of(group.kind));
    }
  }
  CHECK(names == std::vector<std::string>{
                     "dp_cp",    "intra_dp_cp", "dp",          "cp",
                     "mp",       "tp",          "pp",          "embd",
                     "pos_embd", "tp_dp_cp",    "tp_dp",       "tp_cp",
                     "ep",       "ep_tp",       "tp_ep_mp",    "tp_ep_pp",
                     "ep_dp",    "intra_ep_dp", "inter_ep_dp", "intra_dist_opt_instance"});
  // An optimizer instance is a contiguous slice of dp_cp.
  CHECK(first_lists(groups, GroupKind::dp_cp, 1) == RankLists{{0, 1, 2, 3, 4, 5, 6, 7}});
  CHECK(first_lists(groups, GroupKind::intra_dp_cp, 2) == RankLists{{0, 1, 2, 3}, {4, 5, 6, 7}});
  CHECK(first_lists(groups, GroupKind::ep_dp, 1) == RankLists{{0, 2, 4, 6}});
  CHECK(first_lists(groups, GroupKind::intra_ep_dp, 2) == RankLists{{0, 2}, {4, 6}});
  CHECK(first_lists(groups, GroupKind::inter_ep_dp, 2) == RankLists{{0, 4}, {2, 6}});
  CHECK(lists_of(groups, GroupKind::intra_dist_opt_instance) ==
        RankLists{{0, 1, 8, 9, 2, 3, 10, 11}, {4, 5, 12, 13, 6, 7, 14, 15}});
}

// Published vectors: reference/ntp.md §1.8 (b) and (c).

TEST_CASE("packed TP2 + TP4 has the groups of the NTP branch", "[core][process_groups][golden]") {
  const ParallelSizes sizes{.tp = 4, .dp = 2, .etp = 4};
  for (const std::vector<std::int64_t>& failed :
       {std::vector<std::int64_t>{2, 3}, {0, 1}, {0, 2}, {1, 3}}) {
    const auto groups = make_process_groups(ParallelLayout::nonuniform(sizes, {{{}, failed}}));
    CHECK(lists_of(groups, GroupKind::tp) == RankLists{{0, 1}, {2, 3, 4, 5}});
    CHECK(lists_of(groups, GroupKind::dp) == RankLists{{0, 2}, {1, 3}, {4}, {5}});
  }
}

TEST_CASE("TP domains of 4 and 8 with CP2 have the groups of the NTP branch",
          "[core][process_groups][golden]") {
  const ParallelLayout layout =
      ParallelLayout::nonuniform({.tp = 8, .cp = 2, .dp = 2, .etp = 8},
                                 {{{DpRank(0), CpRank(0), PpRank(0)}, {4, 5, 6, 7}},
                                  {{DpRank(0), CpRank(1), PpRank(0)}, {4, 5, 6, 7}}});
  CHECK(layout.num_ranks() == 24);
  const auto groups = make_process_groups(layout);
  CHECK(lists_of(groups, GroupKind::tp) == RankLists{{0, 1, 2, 3},
                                                     {4, 5, 6, 7},
                                                     {8, 9, 10, 11, 12, 13, 14, 15},
                                                     {16, 17, 18, 19, 20, 21, 22, 23}});
  CHECK(first_lists(groups, GroupKind::cp, 4) == RankLists{{0, 4}, {1, 5}, {2, 6}, {3, 7}});
  CHECK(first_lists(groups, GroupKind::dp, 8) ==
        RankLists{{0, 8}, {1, 9}, {2, 10}, {3, 11}, {12}, {13}, {14}, {15}});
}

TEST_CASE("optimizer instances must divide the data parallel sizes", "[core][process_groups]") {
  const ParallelLayout layout = ParallelLayout::uniform({.tp = 2, .dp = 3, .etp = 2});
  CHECK_NOTHROW(make_process_groups(layout, 3));
  CHECK_THROWS_AS(make_process_groups(layout, 2), InvalidArgument);
  CHECK_THROWS_AS(make_process_groups(layout, 0), InvalidArgument);
}

TEST_CASE("an order that gives experts other pipelines is refused", "[core][process_groups]") {
  // Dense layers step through the pipeline by tp*cp = 4 ranks, experts by etp = 1.
  CHECK_THROWS_AS(make_process_groups(ParallelLayout::uniform(
                      {.tp = 4, .ep = 4, .dp = 2, .pp = 2, .etp = 1, .order = "tp-cp-pp-ep-dp"})),
                  InvalidArgument);
}

}  // namespace runflat
