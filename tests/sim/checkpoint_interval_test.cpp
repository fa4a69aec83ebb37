#include "sim/checkpoint_interval.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"

#include <cmath>

using namespace runflat;
using namespace runflat::sim;

namespace {

/// Daly's exact expected time to do one unit of work in segments of `interval` when failures are
/// exponential and restarts free: M (e^((interval + C) / M) - 1) / interval.
double expected_time(double interval, double cost, double mtbf) {
  return mtbf * std::expm1((interval + cost) / mtbf) / interval;
}

/// The interval that minimises it, by golden section.
double best_interval(double cost, double mtbf) {
  const double ratio = (std::sqrt(5.0) - 1.0) / 2.0;
  double low = 1e-9;
  double high = 10.0 * mtbf;
  while (high - low > 1e-7 * mtbf) {
    const double a = high - ratio * (high - low);
    const double b = low + ratio * (high - low);
    (expected_time(a, cost, mtbf) < expected_time(b, cost, mtbf) ? high : low) =
        expected_time(a, cost, mtbf) < expected_time(b, cost, mtbf) ? b : a;
  }
  return (low + high) / 2.0;
}

}  // namespace

TEST_CASE(
    "Daly's interval costs within a thousandth of the exact optimum, Young's close to it "
    "when checkpoints are cheap",
    "[sim][checkpoint_interval]") {
  const double mtbf = 3600.0;
  for (const double share : {1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.3}) {
    const double cost = share * mtbf;
    const double best = expected_time(best_interval(cost, mtbf), cost, mtbf);
    const double daly = daly_interval(Seconds{cost}, Seconds{mtbf}).count();
    const double young = young_interval(Seconds{cost}, Seconds{mtbf}).count();
    CHECK(expected_time(daly, cost, mtbf) / best >= 1.0 - 1e-9);
    CHECK(expected_time(daly, cost, mtbf) / best < 1.001);
    CHECK(expected_time(young, cost, mtbf) >= expected_time(daly, cost, mtbf));
    CHECK(young - daly == Approx(2.0 / 3.0 * cost).epsilon(0.2));
  }
}

TEST_CASE("a checkpoint dearer than the time between failures is made once per failure",
          "[sim][checkpoint_interval]") {
  CHECK(daly_interval(Seconds{200}, Seconds{100}) == Seconds{100});
  CHECK_THROWS_AS(young_interval(Seconds{0}, Seconds{100}), InvalidArgument);
  CHECK_THROWS_AS(daly_interval(Seconds{1}, Seconds{0}), InvalidArgument);
}

TEST_CASE("Young's interval at the scale of Llama-3 is the published one",
          "[sim][checkpoint_interval][golden]") {
  // shared/reference/fault-tolerance.md section 4: mtbf 3.09 h; 11.1 min at C = 20 s, 19.3 at 60 s.
  using Minutes = std::chrono::duration<double, std::ratio<60>>;
  CHECK(Minutes{young_interval(Seconds{20}, Hours{3.09})}.count() == Approx(11.1).margin(0.05));
  CHECK(Minutes{young_interval(Seconds{60}, Hours{3.09})}.count() == Approx(19.3).margin(0.05));
}

TEST_CASE("Meta's ratio is the share of time that a long renewal of failures leaves for training",
          "[sim][checkpoint_interval]") {
  // By hand: of each 100 h one restart of 1 h and half an interval of 2 h are lost, the rest is 10
  // parts training to 1 part checkpoint.
  const RestartCosts costs{.mtbf = Hours{100},
                           .restart = Hours{1},
                           .checkpoint_interval = Hours{2},
                           .checkpoint_cost = Hours{0.2}};
  CHECK(expected_training_time_ratio(costs) == Approx(0.98 / 1.1));
  CHECK(expected_training_time_ratio({.mtbf = Hours{1},
                                      .restart = Hours{1},
                                      .checkpoint_interval = Hours{1},
                                      .checkpoint_cost = Hours{0}}) == 0.0);
  CHECK_THROWS_AS(expected_training_time_ratio({}), InvalidArgument);
}

TEST_CASE("100,000 GPUs at RSC-2's rate need about 2-minute checkpoints and restarts for 0.9",
          "[sim][checkpoint_interval][golden]") {
  // shared/reference/fault-tolerance.md section 4: 2.34 failures per 1000 node-days of 8 GPUs.
  const Seconds mtbf = Days{1.0 / (2.34e-3 * 100000 / 8)};
  const auto ratio = [&](double minutes) {
    const Seconds span{60.0 * minutes};
    return expected_training_time_ratio(
        {.mtbf = mtbf, .restart = span, .checkpoint_interval = span, .checkpoint_cost = {}});
  };
  CHECK(ratio(2.0) > 0.9);
  CHECK(ratio(4.0) < 0.9);
}
