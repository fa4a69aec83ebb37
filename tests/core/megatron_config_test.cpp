#include "core/megatron_config.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "tests/catch.hpp"

#include <algorithm>
#include <random>
#include <string>

namespace runflat {
namespace {

constexpr auto kFile = "ntp.json";

CellId cell(std::int64_t dp, std::int64_t cp = 0, std::int64_t pp = 0) {
  return {DpRank(dp), CpRank(cp), PpRank(pp)};
}

MegatronNtpConfig read_text(const std::string& text, const ParallelSizes& sizes) {
  const Value value = parse_json(text, kFile);
  return read_megatron_ntp(Reader(value, kFile, "ntp"), sizes);
}

std::string error_of(const std::string& text, const ParallelSizes& sizes) {
  try {
    (void)read_text(text, sizes);
  } catch (const ParseError& error) {
    return error.what();
  }
  return "no error";
}

/// Any cells of any replicas, with all CP slices of a listed stage.
std::vector<InactiveSlots> random_inactive(std::mt19937& random, const ParallelSizes& sizes) {
  const auto between = [&random](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  std::vector<InactiveSlots> inactive;
  for (std::int64_t dp = 0; dp < sizes.dp; ++dp) {
    for (std::int64_t pp = 0; pp < sizes.pp; ++pp) {
      if (between(0, 1) == 0) {
        continue;
      }
      for (std::int64_t cp = 0; cp < sizes.cp; ++cp) {
        InactiveSlots& entry = inactive.emplace_back(InactiveSlots{cell(dp, cp, pp), {}});
        for (std::int64_t slot = 0; slot < sizes.tp; ++slot) {
          if (between(0, 3) == 0 && static_cast<std::int64_t>(entry.slots.size()) + 1 < sizes.tp) {
            entry.slots.push_back(slot);
          }
        }
      }
    }
  }
  return inactive;
}

}  // namespace

TEST_CASE("a configuration reads back from its own text, and describes its layout",
          "[core][megatron_config]") {
  std::mt19937 random(5);
  for (int trial = 0; trial < 200; ++trial) {
    const ParallelSizes sizes{.tp = 1 + trial % 8,
                              .cp = 1 + trial % 2,
                              .dp = 1 + trial % 5,
                              .pp = 1 + trial % 3,
                              .etp = 1};
    const MegatronNtpConfig config = make_megatron_ntp(sizes.tp, random_inactive(random, sizes));
    CHECK(read_text(to_json_text(to_value(config)), sizes) == config);
    const ParallelLayout layout = to_layout(config, sizes);
    std::int64_t num_ranks = sizes.num_ranks();
    for (const InactiveSlots& entry : config.non_active_ranks_per_dp) {
      CHECK(layout.cell(entry.cell).inactive == entry.slots);
      CHECK(layout.tp_size(entry.cell) == sizes.tp - config.tp_spares);
      num_ranks -= config.tp_spares;
    }
    CHECK(layout.num_ranks() == num_ranks);
  }
}

TEST_CASE("parity padding keeps what failed, evens out the counts and changes nothing twice",
          "[core][megatron_config]") {
  std::mt19937 random(6);
  for (int trial = 0; trial < 200; ++trial) {
    const ParallelSizes sizes{.tp = 2 + trial % 15, .dp = 4};
    const std::vector<InactiveSlots> failed = random_inactive(random, sizes);
    std::int64_t most = 0;
    for (const InactiveSlots& entry : failed) {
      most = std::max(most, static_cast<std::int64_t>(entry.slots.size()));
    }
    const std::vector<InactiveSlots> padded = pad_to_parity(failed, sizes.tp, most);
    REQUIRE(padded.size() == failed.size());
    for (std::size_t i = 0; i < padded.size(); ++i) {
      const std::vector<std::int64_t>& slots = padded[i].slots;
      CHECK(padded[i].cell == failed[i].cell);
      CHECK(static_cast<std::int64_t>(slots.size()) == most);
      CHECK(std::includes(
          slots.begin(), slots.end(), failed[i].slots.begin(), failed[i].slots.end()));
      // No healthy slot that stays active is higher than one that was idled.
      for (const std::int64_t idled : slots) {
        for (std::int64_t slot = idled + 1; slot < sizes.tp; ++slot) {
          const bool was_failed =
              std::find(failed[i].slots.begin(), failed[i].slots.end(), idled) !=
              failed[i].slots.end();
          const bool is_inactive = std::find(slots.begin(), slots.end(), slot) != slots.end();
          CHECK((was_failed || is_inactive));
        }
      }
    }
    CHECK(pad_to_parity(padded, sizes.tp, most) == padded);
  }
}

// Published vector: reference/ntp.md §1.8 (d).

TEST_CASE("failures {0: [2, 5], 1: [1]} of 8 become 2 spares, {0: [2, 5], 1: [1, 7]}",
          "[core][megatron_config][golden]") {
  const ParallelSizes sizes{.tp = 8, .dp = 4, .etp = 8};
  const MegatronNtpConfig config =
      read_text(R"({"tp_base": 8, "non_active_ranks_per_dp": {"0": [2, 5], "1": [1]}})", sizes);
  CHECK(config.tp_spares == 2);
  CHECK(config.num_reduced_tp_dp_ranks == 2);
  CHECK(config.non_active_ranks_per_dp ==
        std::vector<InactiveSlots>{{cell(0), {2, 5}}, {cell(1), {1, 7}}});
  const ParallelLayout layout = to_layout(config, sizes);
  CHECK(layout.num_ranks() == 2 * 6 + 2 * 8);
  CHECK(layout.cell(cell(1)).active() ==
        std::vector<GpuId>{GpuId(8), GpuId(10), GpuId(11), GpuId(12), GpuId(13), GpuId(14)});
}

TEST_CASE("keys may be a cell in either spelling or a whole replica", "[core][megatron_config]") {
  const ParallelSizes sizes{.tp = 4, .cp = 2, .dp = 2, .pp = 1, .etp = 4};
  const std::vector<InactiveSlots> expected = {{cell(0, 0), {0}}, {cell(0, 1), {3}}};
  for (const std::string map : {R"({"0,0,0": [0], "0,1,0": [3]})",
                                R"~({"(0, 0, 0)": [0], "( 0 ,1, 0 )": [3]})~",
                                R"({"0,0,0": [0], "0": [3]})",
                                R"~({"0": [3], "(0,0,0)": [0]})~"}) {
    const std::string text = R"({"tp_spares": 1, "non_active_ranks_per_dp": )" + map + "}";
    CHECK(read_text(text, sizes).non_active_ranks_per_dp == expected);
  }
}

TEST_CASE("without a map the last slots of the first replicas are inactive",
          "[core][megatron_config]") {
  const ParallelSizes sizes{.tp = 4, .cp = 2, .dp = 3, .pp = 2, .etp = 4};
  const MegatronNtpConfig config =
      read_text(R"({"tp_base": 4, "tp_spares": 2, "num_reduced_tp_dp_ranks": 2})", sizes);
  CHECK(config.num_reduced_tp_dp_ranks == 2);
  REQUIRE(config.non_active_ranks_per_dp.size() == 2U * 2U * 2U);
  for (const InactiveSlots& entry : config.non_active_ranks_per_dp) {
    CHECK(entry.cell.dp < DpRank(2));
    CHECK(entry.slots == std::vector<std::int64_t>{2, 3});
  }
  // The branch's default is one replica, and an empty map is no map.
  CHECK(read_text(R"({"tp_spares": 1, "non_active_ranks_per_dp": {}})", sizes)
            .num_reduced_tp_dp_ranks == 1);
  CHECK(to_layout(read_text("{}", sizes), sizes).is_uniform());
}

TEST_CASE("bad NTP configurations name the key and what was expected", "[core][megatron_config]") {
  const ParallelSizes sizes{.tp = 4, .cp = 2, .dp = 2, .pp = 1, .etp = 4};
  using Catch::Contains;
  const auto map_error = [&](const std::string& map) {
    return error_of(R"({"tp_spares": 1, "non_active_ranks_per_dp": )" + map + "}", sizes);
  };
  CHECK_THAT(error_of(R"({"tp_base": 8})", sizes), Contains("ntp.json: ntp.tp_base: expected"));
  CHECK_THAT(error_of(R"({"tp_spares": 4})", sizes), Contains("ntp.tp_spares"));
  CHECK_THAT(error_of(R"({"tp_spare": 1})", sizes), Contains("ntp.tp_spare: unknown key"));
  CHECK_THAT(error_of(R"({"num_reduced_tp_dp_ranks": 3})", sizes), Contains("from 0 to 2"));
  CHECK_THAT(map_error("[]"), Contains("non_active_ranks_per_dp: expected a table"));
  CHECK_THAT(map_error(R"({"0": [1, 2]})"), Contains("2 slots, but tp_spares is 1"));
  CHECK_THAT(map_error(R"({"2": [1]})"), Contains(R"(expected a key "dp,cp,pp")"));
  CHECK_THAT(map_error(R"({"-1": [1]})"), Contains(R"(expected a key "dp,cp,pp")"));
  CHECK_THAT(map_error(R"({"0,0": [1]})"), Contains(R"(expected a key "dp,cp,pp")"));
  CHECK_THAT(map_error(R"({"0,0,0,0": [1]})"), Contains(R"(expected a key "dp,cp,pp")"));
  CHECK_THAT(map_error(R"({"": [1]})"), Contains(R"(expected a key "dp,cp,pp")"));
  CHECK_THAT(map_error(R"({"0,0,x": [1]})"), Contains(R"(expected a key "dp,cp,pp")"));
  CHECK_THAT(map_error(R"({"0,0,0": [4], "0,1,0": [1]})"), Contains("from 0 to 3"));
  CHECK_THAT(map_error(R"({"0": [1, 1]})"), Contains("twice"));
  CHECK_THAT(map_error(R"({"0": [0, 1, 2, 3]})"), Contains("none of the 4 slots active"));
  CHECK_THAT(map_error(R"({"0,0,0": [1]})"), Contains("but not cp 1"));
  CHECK_THAT(map_error(R"~({"0,0,0": [1], "(0, 0, 0)": [1], "0,1,0": [1]})~"),
             Contains("same cell"));
  CHECK_THAT(error_of(R"({"num_reduced_tp_dp_ranks": 1,
                          "non_active_ranks_per_dp": {"0": [1], "1": [1]}})",
                      sizes),
             Contains("ntp.num_reduced_tp_dp_ranks: expected 2"));
}

TEST_CASE("padding to fewer spares than have failed is a bug of the caller",
          "[core][megatron_config]") {
  CHECK_THROWS_AS(pad_to_parity({{cell(0), {1, 2}}}, 4, 1), InvalidArgument);
  CHECK_THROWS_AS(pad_to_parity({{cell(0), {1}}}, 4, 4), InvalidArgument);
  CHECK_THROWS_AS(pad_to_parity({{cell(0), {4}}}, 4, 1), InvalidArgument);
  CHECK_THROWS_AS(make_megatron_ntp(4, {{cell(0), {1}}}, 0), InvalidArgument);
}

}  // namespace runflat
