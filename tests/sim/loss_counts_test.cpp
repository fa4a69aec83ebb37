#include "sim/loss_counts.hpp"

#include "sim/census_cache.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

TEST_CASE("loss counts give the census of the sites that were moved", "[sim][loss_counts]") {
  tests::Dice dice(3);
  for (int trial = 0; trial < 50; ++trial) {
    const auto tp = static_cast<std::int32_t>(dice.between(1, 12));
    std::vector<std::int32_t> lost(static_cast<std::size_t>(dice.between(1, 30)), 0);
    LossCounts counts(tp, static_cast<std::int64_t>(lost.size()));
    for (int i = 0; i < 100; ++i) {
      std::int32_t& site = lost[dice.index(lost.size())];
      const auto now = static_cast<std::int32_t>(dice.between(0, tp));
      counts.move(site, now);
      site = now;
    }
    std::vector<std::int32_t> damaged = lost;
    std::sort(damaged.begin(), damaged.end(), std::greater<>());
    const std::int64_t healthy = std::count(lost.begin(), lost.end(), 0);
    damaged.resize(damaged.size() - static_cast<std::size_t>(healthy));
    REQUIRE(counts.census().num_healthy == healthy);
    REQUIRE(counts.census().num_lost == damaged);
    REQUIRE(counts.num_damaged() == static_cast<std::int64_t>(damaged.size()));

    LossCounts again(tp, static_cast<std::int64_t>(lost.size()));  // in another order
    std::reverse(lost.begin(), lost.end());
    for (const std::int32_t site : lost) {
      again.move(0, site);
    }
    REQUIRE(again == counts);
    REQUIRE(again.hash() == counts.hash());
  }
}

TEST_CASE("a cache of censuses answers as the question does, and asks seldom",
          "[sim][loss_counts]") {
  tests::Dice dice(4);
  LossCounts counts(8, 5000);
  std::vector<std::int32_t> lost(5000, 0);
  CensusCache<std::int64_t> cache;
  int num_asked = 0;
  const auto answer_of = [](const SiteCensus& census) {
    return std::accumulate(census.num_lost.begin(), census.num_lost.end(), std::int64_t{0});
  };
  const auto ask = [&](const SiteCensus& census) {
    ++num_asked;
    return answer_of(census);
  };
  for (int i = 0; i < 20000; ++i) {
    const std::size_t site = dice.index(i % 2 == 0 ? 20 : lost.size());
    const auto now = static_cast<std::int32_t>(dice.between(0, 8));
    counts.move(lost[site], now);
    lost[site] = now;
    REQUIRE(cache.find(counts, ask) == answer_of(counts.census()));
    REQUIRE(cache.find(counts, ask) == answer_of(counts.census()));
  }
  CHECK(num_asked <= 20000);  // the second question of each pair is known
}
