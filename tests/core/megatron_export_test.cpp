#include "core/megatron_export.hpp"

#include "tests/catch.hpp"

#include <algorithm>
#include <random>
#include <set>

namespace runflat {
namespace {

CellId cell(std::int64_t dp, std::int64_t cp = 0, std::int64_t pp = 0) {
  return {DpRank(dp), CpRank(cp), PpRank(pp)};
}

/// Failed slots anywhere, GPUs in any order.
ParallelLayout random_layout(std::mt19937& random) {
  const auto between = [&random](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  const ParallelSizes sizes{
      .tp = between(1, 8), .cp = between(1, 3), .dp = between(1, 5), .pp = between(1, 3)};
  std::vector<Cell> cells = ParallelLayout::uniform(sizes).cells();
  std::shuffle(cells.begin(), cells.end(), random);
  for (Cell& entry : cells) {
    std::shuffle(entry.slots.begin(), entry.slots.end(), random);
    for (std::int64_t slot = 0; slot < sizes.tp; ++slot) {
      if (between(0, 9) == 0 && entry.tp_size() > 1) {
        entry.inactive.push_back(slot);
      }
    }
  }
  return ParallelLayout::from_cells(sizes, std::move(cells));
}

bool same_inactive(const ParallelLayout& a, const ParallelLayout& b) {
  return std::equal(a.cells().begin(), a.cells().end(), b.cells().begin(), [](auto& x, auto& y) {
    return x.inactive == y.inactive;
  });
}

}  // namespace

TEST_CASE("Megatron's order keeps every cell's GPUs and can always be exported",
          "[core][megatron_export]") {
  std::mt19937 random(21);
  for (int trial = 0; trial < 300; ++trial) {
    const ParallelLayout layout = random_layout(random);
    const ParallelSizes& sizes = layout.sizes();
    const MegatronOrder order = order_for_megatron(layout);
    CHECK(std::set<DpRank>(order.replicas.begin(), order.replicas.end()).size() ==
          static_cast<std::size_t>(sizes.dp));
    for (std::size_t i = 0; i < layout.cells().size(); ++i) {
      const CellId id = order.layout.cell_id(i);
      const Cell& before = layout.cell({order.replicas[id.dp.index()], id.cp, id.pp});
      CHECK(order.layout.cell(id).active() == before.active());
    }
    const auto exported = to_megatron_ntp(order.layout);
    REQUIRE(exported.has_value());
    for (const InactiveSlots& entry : exported->config.non_active_ranks_per_dp) {
      for (const std::int64_t slot : entry.slots) {
        CHECK(slot >= sizes.tp - exported->config.tp_spares);
      }
    }
  }
}

TEST_CASE("an export describes the layout that Megatron will run, and idles no more than it must",
          "[core][megatron_export]") {
  std::mt19937 random(22);
  int num_exported = 0;
  for (int trial = 0; trial < 600; ++trial) {
    const ParallelLayout layout = random_layout(random);
    const ParallelSizes& sizes = layout.sizes();
    const auto exported = to_megatron_ntp(layout);
    if (!exported) {
      CHECK_FALSE(exported.error().reason.empty());
      continue;
    }
    ++num_exported;
    const MegatronNtpConfig& config = exported->config;
    CHECK(same_inactive(to_layout(config, sizes), exported->layout));
    std::int64_t most = 0;
    for (std::size_t i = 0; i < layout.cells().size(); ++i) {
      const Cell& before = layout.cells()[i];
      const Cell& after = exported->layout.cells()[i];
      const CellId id = layout.cell_id(i);
      CHECK(after.slots == before.slots);
      CHECK(std::includes(after.inactive.begin(),
                          after.inactive.end(),
                          before.inactive.begin(),
                          before.inactive.end()));
      CHECK((after.inactive.empty() ||
             static_cast<std::int64_t>(after.inactive.size()) == config.tp_spares));
      CHECK(after.inactive == exported->layout.cell({id.dp, CpRank(0), id.pp}).inactive);
      most = std::max(most, static_cast<std::int64_t>(before.inactive.size()));
    }
    if (sizes.cp == 1) {
      CHECK(config.tp_spares == most);
    }
    // Exporting what Megatron runs changes nothing more.
    const auto again = to_megatron_ntp(exported->layout);
    REQUIRE(again.has_value());
    CHECK(again->config == config);
    CHECK(again->layout == exported->layout);
  }
  CHECK(num_exported > 100);
}

TEST_CASE("a healthy layout exports as no spares", "[core][megatron_export]") {
  const auto exported =
      to_megatron_ntp(ParallelLayout::uniform({.tp = 8, .dp = 4, .pp = 2, .etp = 8}));
  REQUIRE(exported.has_value());
  CHECK(exported->config == MegatronNtpConfig{.tp_base = 8, .non_active_ranks_per_dp = {}});
  CHECK(exported->notes.empty());
}

TEST_CASE("the example of the parity helper is exported with its padding",
          "[core][megatron_export][golden]") {
  const ParallelSizes sizes{.tp = 8, .dp = 4, .etp = 8};
  const auto exported =
      to_megatron_ntp(ParallelLayout::nonuniform(sizes, {{cell(0), {2, 5}}, {cell(1), {1}}}));
  REQUIRE(exported.has_value());
  CHECK(exported->config ==
        MegatronNtpConfig{.tp_base = 8,
                          .tp_spares = 2,
                          .num_reduced_tp_dp_ranks = 2,
                          .non_active_ranks_per_dp = {{cell(0), {2, 5}}, {cell(1), {1, 7}}}});
  REQUIRE(exported->notes.size() == 1);
  CHECK_THAT(exported->notes[0], Catch::Contains("by slot"));
}

TEST_CASE("what Megatron cannot express is named", "[core][megatron_export]") {
  const ParallelSizes sizes{.tp = 2, .cp = 2, .dp = 3, .etp = 2};
  const auto reason = [](const ParallelLayout& layout) {
    const auto exported = to_megatron_ntp(layout);
    return exported ? std::string("exported") : exported.error().reason;
  };
  CHECK_THAT(reason(ParallelLayout::nonuniform(sizes, {{cell(2, 0), {1}}, {cell(2, 1), {1}}})),
             Catch::Contains("replica 2 is reduced and replica 0 is not"));
  CHECK_THAT(reason(ParallelLayout::nonuniform(sizes, {{cell(0, 0), {0}}, {cell(0, 1), {1}}})),
             Catch::Contains("replica 0 has no slot that is active in all CP slices of stage 0"));
  ParallelSizes other = sizes;
  other.order = "cp-tp-dp-pp";
  CHECK_THAT(reason(ParallelLayout::nonuniform(other, {{cell(0, 0), {1}}, {cell(0, 1), {1}}})),
             Catch::Contains("cp-tp-dp-pp"));
  CHECK(reason(ParallelLayout::uniform(other)) == "exported");
}

TEST_CASE("notes say what the branch does not do for a pipeline or experts",
          "[core][megatron_export]") {
  const auto exported = to_megatron_ntp(ParallelLayout::nonuniform(
      {.tp = 4, .ep = 2, .dp = 2, .pp = 2, .etp = 1}, {{cell(0, 0, 1), {3}}}));
  REQUIRE(exported.has_value());
  REQUIRE(exported->notes.size() == 2);
  CHECK_THAT(exported->notes[0], Catch::Contains("one pipeline stage"));
  CHECK_THAT(exported->notes[1], Catch::Contains("expert groups"));
}

}  // namespace runflat
