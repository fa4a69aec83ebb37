#include "sim/sim_time.hpp"

#include "tests/catch.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

using namespace runflat;
using namespace runflat::sim;

TEST_CASE("a time rounds to the nearest millisecond, ties away from zero", "[sim][sim_time]") {
  CHECK(to_sim_time(Seconds{0.0}) == SimTime{0});
  CHECK(to_sim_time(Seconds{0.0014}) == SimTime{1});
  CHECK(to_sim_time(Seconds{0.0625 / 1000 * 8}) == SimTime{1});
  CHECK(to_sim_time(Seconds{-0.0625 / 1000 * 8}) == SimTime{-1});
  CHECK(to_sim_time(Days{54.0}) == SimTime{54LL * 86400 * 1000});
  CHECK(to_sim_time(Hours{1.5}) == SimTime{5'400'000});
}

TEST_CASE("conversion to milliseconds agrees with the C library's rounding", "[sim][sim_time]") {
  std::mt19937_64 generator{1};
  for (int i = 0; i < 10000; ++i) {
    const double magnitude = std::ldexp(1.0, static_cast<int>(generator() % 60));
    const double milliseconds =
        (static_cast<double>(generator() >> 11U) * 0x1p-53 - 0.5) * magnitude;
    const std::chrono::duration<double, std::milli> span{milliseconds};
    REQUIRE(to_sim_time(span).count() == std::llround(milliseconds));
  }
}

TEST_CASE("a whole number of milliseconds survives the way to seconds and back",
          "[sim][sim_time]") {
  std::mt19937_64 generator{2};
  for (int i = 0; i < 10000; ++i) {
    const SimTime time{static_cast<std::int64_t>(generator() >> 20U)};
    REQUIRE(to_sim_time(to_seconds(time)) == time);
  }
}

TEST_CASE("a time beyond the range saturates, and NaN is refused", "[sim][sim_time]") {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  CHECK(to_sim_time(Days{kInfinity}) == kNever);
  CHECK(to_sim_time(Days{-kInfinity}) == -kNever);
  CHECK(to_sim_time(Days{1e300}) == kNever);
  CHECK_THROWS_AS(to_sim_time(Days{std::numeric_limits<double>::quiet_NaN()}), InvalidArgument);
}
