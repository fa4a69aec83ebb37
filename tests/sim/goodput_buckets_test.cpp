#include "sim/goodput_buckets.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

TEST_CASE("buckets cover a duration in equal parts", "[sim][goodput_buckets]") {
  tests::Dice dice(81);
  for (int trial = 0; trial < 200; ++trial) {
    const std::int64_t num = dice.between(1, 40);
    const SimTime duration{dice.between(num, 100'000)};
    GoodputBuckets buckets(duration, num);
    SimTime begin{};
    std::vector<std::int64_t> lengths;
    double kept = 0.0;
    double work = 0.0;
    for (std::int64_t i = 0; i < num; ++i) {
      const SimTime span = buckets.end() - begin;
      lengths.push_back(span.count());
      begin = buckets.end();
      kept += 0.5 * static_cast<double>(span.count());
      buckets.close(kept);
    }
    REQUIRE(begin == duration);
    const auto [least, most] = std::minmax_element(lengths.begin(), lengths.end());
    REQUIRE(*most - *least <= 1);
    const std::vector<double> goodput = std::move(buckets).take();
    for (std::size_t i = 0; i < goodput.size(); ++i) {
      REQUIRE(goodput[i] == Approx(0.5));
      work += goodput[i] * static_cast<double>(lengths[i]);
    }
    REQUIRE(work == Approx(kept));
  }
  CHECK_THROWS_AS(GoodputBuckets(SimTime{3}, 4), InvalidArgument);
  CHECK_THROWS_AS(GoodputBuckets(SimTime{3}, 0), InvalidArgument);
}
