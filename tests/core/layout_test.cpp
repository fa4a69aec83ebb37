#include "core/layout.hpp"

#include "core/document.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <algorithm>
#include <map>
#include <set>

using namespace runflat;

namespace {

ParallelSizes sizes_of(
    std::int64_t tp, std::int64_t cp, std::int64_t dp, std::int64_t pp, const std::string& order) {
  ParallelSizes sizes;
  sizes.tp = tp;
  sizes.cp = cp;
  sizes.dp = dp;
  sizes.pp = pp;
  sizes.etp = tp;
  sizes.order = order;
  return sizes;
}

/// Any order of the axes that Megatron takes with these sizes: where pp is not last, expert
/// parallelism must give the same pipelines.
ParallelSizes random_sizes(tests::Dice& dice) {
  std::vector<std::string> axes = {"tp", "cp", "dp", "pp", "ep"};
  ParallelSizes sizes;
  do {
    dice.shuffle(axes);
    std::string order = axes[0];
    for (std::size_t i = 1; i < axes.size(); ++i) {
      order += "-" + axes[i];
    }
    sizes = sizes_of(
        dice.between(1, 6), dice.between(1, 3), dice.between(1, 5), dice.between(1, 4), order);
    sizes.ep = dice.one_in(2) ? sizes.cp : 1;
  } while (check_sizes(sizes));
  return sizes;
}

/// Every cell loses up to tp - 1 slots, most of them none.
std::vector<InactiveSlots> random_inactive(const ParallelSizes& sizes, tests::Dice& dice) {
  std::vector<InactiveSlots> inactive;
  for (std::int64_t dp = 0; dp < sizes.dp; ++dp) {
    for (std::int64_t cp = 0; cp < sizes.cp; ++cp) {
      for (std::int64_t pp = 0; pp < sizes.pp; ++pp) {
        if (dice.one_in(2)) {
          continue;
        }
        std::vector<std::int64_t> slots;
        for (std::int64_t slot = 0; slot < sizes.tp; ++slot) {
          slots.push_back(slot);
        }
        dice.shuffle(slots);
        slots.resize(static_cast<std::size_t>(dice.between(0, sizes.tp - 1)));
        inactive.push_back({{DpRank(dp), CpRank(cp), PpRank(pp)}, slots});
      }
    }
  }
  dice.shuffle(inactive);
  return inactive;
}

std::set<GpuId> idle_gpus(const ParallelLayout& layout) {
  std::set<GpuId> idle;
  for (const Cell& cell : layout.cells()) {
    for (const std::int64_t slot : cell.inactive) {
      idle.insert(cell.slots.at(static_cast<std::size_t>(slot)));
    }
  }
  return idle;
}

using Groups = std::vector<std::vector<std::int64_t>>;

/// The ranks that differ in the axes cleared by `key` only, in rank order, by their first rank.
template <typename Key>
Groups groups_of(const ParallelLayout& layout, Key key) {
  std::map<Coordinate, std::vector<std::int64_t>> by_key;
  for (std::int64_t rank = 0; rank < layout.num_ranks(); ++rank) {
    Coordinate at = layout.coordinate_of(Rank(rank));
    key(at);
    by_key[at].push_back(rank);
  }
  Groups groups;
  for (const auto& [at, ranks] : by_key) {
    groups.push_back(ranks);
  }
  std::sort(groups.begin(), groups.end());
  return groups;
}

Groups first(Groups groups, std::size_t num) {
  groups.resize(num);
  return groups;
}

const auto kTp = [](Coordinate& at) { at.tp = TpRank(0); };
const auto kCp = [](Coordinate& at) { at.cp = CpRank(0); };
const auto kDp = [](Coordinate& at) { at.dp = DpRank(0); };
const auto kPp = [](Coordinate& at) { at.pp = PpRank(0); };

std::string error_of(const std::string& toml) {
  try {
    const Value value = parse_toml(toml, "a.toml");
    (void)read_sizes(Reader(value, "a.toml", "layout"));
  } catch (const ParseError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("rank, coordinate and GPU are one-to-one over the active slots", "[core][layout]") {
  tests::Dice dice(1);
  for (int round = 0; round < 300; ++round) {
    const ParallelSizes sizes = random_sizes(dice);
    CAPTURE(round, sizes.order, sizes.tp, sizes.cp, sizes.dp, sizes.pp);
    const ParallelLayout layout = ParallelLayout::nonuniform(sizes, random_inactive(sizes, dice));
    std::set<Coordinate> coordinates;
    std::set<GpuId> gpus;
    for (std::int64_t i = 0; i < layout.num_ranks(); ++i) {
      const Rank rank(i);
      const Coordinate& at = layout.coordinate_of(rank);
      CHECK(layout.rank_of(at) == rank);
      CHECK(layout.rank_of(layout.gpu_of(rank)) == rank);
      CHECK(layout.cell(at.cell()).active().at(at.tp.index()) == layout.gpu_of(rank));
      coordinates.insert(at);
      gpus.insert(layout.gpu_of(rank));
    }
    const auto num_ranks = static_cast<std::size_t>(layout.num_ranks());
    CHECK(coordinates.size() == num_ranks);
    CHECK(gpus.size() == num_ranks);
    const std::set<GpuId> idle = idle_gpus(layout);
    CHECK(num_ranks + idle.size() == static_cast<std::size_t>(sizes.num_ranks()));
    for (const GpuId gpu : idle) {
      CHECK_FALSE(layout.rank_of(gpu).has_value());
    }
    CHECK(layout.is_uniform() == idle.empty());
  }
}

TEST_CASE("the tp ranks of a cell are dense and in slot order", "[core][layout]") {
  tests::Dice dice(2);
  for (int round = 0; round < 200; ++round) {
    const ParallelSizes sizes = random_sizes(dice);
    const ParallelLayout layout = ParallelLayout::nonuniform(sizes, random_inactive(sizes, dice));
    for (std::size_t index = 0; index < layout.cells().size(); ++index) {
      const CellId id = layout.cell_id(index);
      CHECK(layout.cell_index(id) == index);
      const Coordinate beyond = {TpRank(layout.tp_size(id)), id.cp, id.dp, id.pp};
      CHECK_FALSE(layout.rank_of(beyond).has_value());
      std::int64_t previous = -1;
      for (std::int64_t tp = 0; tp < layout.tp_size(id); ++tp) {
        const auto rank = layout.rank_of(Coordinate{TpRank(tp), id.cp, id.dp, id.pp});
        REQUIRE(rank.has_value());
        CHECK(rank->value() > previous);
        previous = rank->value();
      }
    }
  }
}

TEST_CASE("taking slots out keeps the other ranks in their order", "[core][layout]") {
  tests::Dice dice(3);
  for (int round = 0; round < 200; ++round) {
    const ParallelSizes sizes = random_sizes(dice);
    const ParallelLayout uniform = ParallelLayout::uniform(sizes);
    CHECK(uniform.num_ranks() == sizes.num_ranks());
    for (std::int64_t i = 0; i < uniform.num_ranks(); ++i) {
      CHECK(uniform.gpu_of(Rank(i)) == GpuId(i));
    }
    // Slots at the end of their cells: every rank left keeps its coordinate.
    std::vector<InactiveSlots> tail;
    const std::int64_t taken = dice.between(0, sizes.tp - 1);
    for (std::int64_t slot = sizes.tp - taken; slot < sizes.tp; ++slot) {
      tail.push_back({{DpRank(0), CpRank(0), PpRank(0)}, {slot}});
    }
    const ParallelLayout reduced = ParallelLayout::nonuniform(sizes, tail);
    const std::set<GpuId> idle = idle_gpus(reduced);
    std::int64_t next = 0;
    for (std::int64_t i = 0; i < uniform.num_ranks(); ++i) {
      if (!idle.contains(GpuId(i))) {
        CHECK(reduced.gpu_of(Rank(next)) == GpuId(i));
        CHECK(reduced.coordinate_of(Rank(next)) == uniform.coordinate_of(Rank(i)));
        ++next;
      }
    }
    CHECK(next == reduced.num_ranks());
  }
}

TEST_CASE("a stage synchronises at the smallest tp size of its cells", "[core][layout]") {
  tests::Dice dice(4);
  for (int round = 0; round < 100; ++round) {
    const ParallelSizes sizes = random_sizes(dice);
    const ParallelLayout layout = ParallelLayout::nonuniform(sizes, random_inactive(sizes, dice));
    for (std::int64_t pp = 0; pp < sizes.pp; ++pp) {
      const std::int64_t degree = layout.sync_degree(PpRank(pp));
      bool reached = false;
      for (std::int64_t cell = 0; cell < sizes.dp * sizes.cp; ++cell) {
        const std::int64_t size =
            layout.tp_size({DpRank(cell % sizes.dp), CpRank(cell / sizes.dp), PpRank(pp)});
        CHECK(size >= degree);
        reached = reached || size == degree;
      }
      CHECK(reached);
    }
  }
}

TEST_CASE("the cells of a layout make the same layout again", "[core][layout]") {
  tests::Dice dice(5);
  for (int round = 0; round < 100; ++round) {
    const ParallelSizes sizes = random_sizes(dice);
    const ParallelLayout layout = ParallelLayout::nonuniform(sizes, random_inactive(sizes, dice));
    CHECK(ParallelLayout::from_cells(sizes, layout.cells()) == layout);
  }
}

TEST_CASE("Megatron's groups of 16 ranks, TP2 CP2 DP2 PP2", "[core][layout][golden]") {
  // training-engine.md §1.1.
  const ParallelLayout layout = ParallelLayout::uniform(sizes_of(2, 2, 2, 2, "tp-cp-ep-dp-pp"));
  CHECK(layout.rank_of(Coordinate{TpRank(1), CpRank(0), DpRank(1), PpRank(1)}) == Rank(13));
  CHECK(first(groups_of(layout, kTp), 2) == Groups{{0, 1}, {2, 3}});
  CHECK(first(groups_of(layout, kCp), 5) == Groups{{0, 2}, {1, 3}, {4, 6}, {5, 7}, {8, 10}});
  CHECK(first(groups_of(layout, kDp), 5) == Groups{{0, 4}, {1, 5}, {2, 6}, {3, 7}, {8, 12}});
  CHECK(first(groups_of(layout, kPp), 2) == Groups{{0, 8}, {1, 9}});
  CHECK(groups_of(layout, [](Coordinate& at) {
          kDp(at);
          kCp(at);
        }) == Groups{{0, 2, 4, 6}, {1, 3, 5, 7}, {8, 10, 12, 14}, {9, 11, 13, 15}});
  CHECK(first(groups_of(layout,
                        [](Coordinate& at) {
                          kTp(at);
                          kPp(at);
                        }),
              2) == Groups{{0, 1, 8, 9}, {2, 3, 10, 11}});
  CHECK(groups_of(layout, [](Coordinate& at) {
          kTp(at);
          kCp(at);
        }).front() == std::vector<std::int64_t>{0, 1, 2, 3});
}

TEST_CASE("Megatron's groups of order tp-cp-ep-pp-dp, TP2 PP2 DP2", "[core][layout][golden]") {
  // training-engine.md §1.1.
  const ParallelLayout layout = ParallelLayout::uniform(sizes_of(2, 1, 2, 2, "tp-cp-ep-pp-dp"));
  CHECK(groups_of(layout, kTp) == Groups{{0, 1}, {2, 3}, {4, 5}, {6, 7}});
  CHECK(groups_of(layout, kPp) == Groups{{0, 2}, {1, 3}, {4, 6}, {5, 7}});
  CHECK(groups_of(layout, kDp) == Groups{{0, 4}, {1, 5}, {2, 6}, {3, 7}});
}

TEST_CASE("two replicas of TP4 and TP2 packed on six ranks", "[core][layout][golden]") {
  // ntp.md §1.8(b): TP {0,1},{2,3,4,5}; DP {0,2},{1,3},{4},{5}.
  const ParallelLayout layout = ParallelLayout::nonuniform(
      sizes_of(4, 1, 2, 1, "tp-cp-ep-dp-pp"), {{{DpRank(0), CpRank(0), PpRank(0)}, {1, 2}}});
  CHECK(groups_of(layout, kTp) == Groups{{0, 1}, {2, 3, 4, 5}});
  CHECK(groups_of(layout, kDp) == Groups{{0, 2}, {1, 3}, {4}, {5}});
  CHECK(layout.gpu_of(Rank(1)) == GpuId(3));
}

TEST_CASE("replicas of TP4 and TP8 with CP2 on 24 ranks", "[core][layout][golden]") {
  // ntp.md §1.8(c), the unit test of the topology mode.
  const ParallelLayout layout =
      ParallelLayout::nonuniform(sizes_of(8, 2, 2, 1, "tp-cp-ep-dp-pp"),
                                 {{{DpRank(0), CpRank(0), PpRank(0)}, {4, 5, 6, 7}},
                                  {{DpRank(0), CpRank(1), PpRank(0)}, {0, 2, 4, 6}}});
  CHECK(layout.num_ranks() == 24);
  CHECK(groups_of(layout, kTp) == Groups{{0, 1, 2, 3},
                                         {4, 5, 6, 7},
                                         {8, 9, 10, 11, 12, 13, 14, 15},
                                         {16, 17, 18, 19, 20, 21, 22, 23}});
  CHECK(first(groups_of(layout, kCp), 4) == Groups{{0, 4}, {1, 5}, {2, 6}, {3, 7}});
  const Groups dp = groups_of(layout, kDp);
  CHECK(first(dp, 4) == Groups{{0, 8}, {1, 9}, {2, 10}, {3, 11}});
  for (const std::int64_t alone : {12, 13, 14, 15}) {
    CHECK(std::find(dp.begin(), dp.end(), std::vector<std::int64_t>{alone}) != dp.end());
  }
}

TEST_CASE("slots outside the grid, named twice, or all of a cell are refused", "[core][layout]") {
  const ParallelSizes sizes = sizes_of(2, 1, 2, 1, "tp-cp-ep-dp-pp");
  const CellId cell = {DpRank(1), CpRank(0), PpRank(0)};
  const auto make = [&](const std::vector<InactiveSlots>& inactive) {
    return ParallelLayout::nonuniform(sizes, inactive);
  };
  CHECK_THROWS_AS(make({{cell, {2}}}), InvalidArgument);
  CHECK_THROWS_AS(make({{cell, {-1}}}), InvalidArgument);
  CHECK_THROWS_AS(make({{cell, {0, 0}}}), InvalidArgument);
  CHECK_THROWS_AS(make({{cell, {0}}, {cell, {0}}}), InvalidArgument);
  CHECK_THROWS_AS(make({{cell, {0, 1}}}), InvalidArgument);
  CHECK_THROWS_AS(make({{{DpRank(2), CpRank(0), PpRank(0)}, {0}}}), InvalidArgument);
  const ParallelLayout layout = make({{cell, {0}}});
  CHECK_THROWS_AS(layout.coordinate_of(Rank(3)), InvalidArgument);
  CHECK_THROWS_AS(layout.gpu_of(Rank(-1)), InvalidArgument);
  CHECK_THROWS_AS(layout.cell_id(2), InvalidArgument);
  std::vector<Cell> cells = layout.cells();
  cells[0].slots[0] = cells[1].slots[1];
  CHECK_THROWS_AS(ParallelLayout::from_cells(sizes, cells), InvalidArgument);
  cells.pop_back();
  CHECK_THROWS_AS(ParallelLayout::from_cells(sizes, cells), InvalidArgument);
}

TEST_CASE("sizes read back from what they are written as", "[core][layout]") {
  tests::Dice dice(6);
  for (int round = 0; round < 100; ++round) {
    const ParallelSizes sizes = random_sizes(dice);
    const Value value = parse_json(to_json_text(to_value(sizes)), "a.json");
    CHECK(read_sizes(Reader(value, "a.json")) == sizes);
  }
}

TEST_CASE("sizes that do not fit together are refused with the product", "[core][layout]") {
  CHECK(error_of("") == "no error");
  CHECK(error_of("tensor_model_parallel_size = 0") ==
        "a.toml: layout.tensor_model_parallel_size: expected an integer from 1 to 16777216, "
        "found 0");
  CHECK(error_of("tensor_parallel = 8").rfind("a.toml: layout.tensor_parallel: unknown key", 0) ==
        0);
  CHECK(error_of("tensor_model_parallel_size = 2\nexpert_model_parallel_size = 3") ==
        "a.toml: layout: tp 2 * cp 1 * dp 1 = 2 ranks are not divisible by ep 3 * etp 2");
  CHECK(error_of("data_parallel_size = 2\norder = 'tp-cp-ep-pp'") ==
        "a.toml: layout: order 'tp-cp-ep-pp' must name axis dp of size 2 exactly once");
  CHECK(error_of("order = 'tp-cp-ep-dp-pp-tp'") ==
        "a.toml: layout: order 'tp-cp-ep-dp-pp-tp' must name axis tp of size 1 exactly once");
  CHECK(error_of("order = 'tp-xp'") == "a.toml: layout: order 'tp-xp' names an unknown axis 'xp'");
  CHECK(error_of("order = 'DP-TP'\ndata_parallel_size = 2") == "no error");
  CHECK(error_of("tensor_model_parallel_size = 16777216\ndata_parallel_size = 16777216\n"
                 "context_parallel_size = 16777216\npipeline_model_parallel_size = 16777216") ==
        "a.toml: layout: more than 16777216 ranks");
}
