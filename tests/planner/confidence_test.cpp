#include "planner/confidence.hpp"

#include "core/error.hpp"
#include "sim/random.hpp"
#include "tests/catch.hpp"

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

using namespace runflat;
using namespace runflat::planner;

TEST_CASE("quantiles of Student's t are those of the tables", "[planner][confidence]") {
  // Abramowitz and Stegun, table 26.10, two-sided 95 %.
  const std::vector<std::pair<std::int64_t, double>> table = {{1, 12.706},
                                                              {2, 4.303},
                                                              {3, 3.182},
                                                              {4, 2.776},
                                                              {5, 2.571},
                                                              {10, 2.228},
                                                              {30, 2.042},
                                                              {120, 1.980}};
  for (const auto& [degrees, quantile] : table) {
    CHECK(student_t_975(degrees) == Approx(quantile).epsilon(0.002));
  }
  CHECK(student_t_975(1'000'000'000) == Approx(1.95996).epsilon(1e-5));
  for (std::int64_t degrees = 1; degrees < 200; ++degrees) {
    CHECK(student_t_975(degrees) > student_t_975(degrees + 1));
  }
  CHECK_THROWS_AS(student_t_975(0), InvalidArgument);
}

TEST_CASE("a mean of two values lies in the middle, and its interval is wide",
          "[planner][confidence]") {
  // The standard error of {a, b} is |a - b| / 2.
  const MeanInterval interval = MeanInterval::of({1.0, 3.0});
  CHECK(interval.mean == 2.0);
  CHECK(interval.half_width.value() == Approx(12.7062));
  CHECK(MeanInterval::of({5.0}).mean == 5.0);
  CHECK_FALSE(MeanInterval::of({5.0}).half_width.has_value());
  CHECK(MeanInterval::of({5.0, 5.0, 5.0}).half_width.value() == 0.0);
  CHECK_THROWS_AS(MeanInterval::of({}), InvalidArgument);
}

TEST_CASE("95 of 100 intervals of five normal values hold the mean", "[planner][confidence]") {
  constexpr int kSamples = 20'000;
  int num_holding = 0;
  for (std::uint32_t sample = 0; sample < kSamples; ++sample) {
    sim::RandomStream stream(11, {.trial = sample, .source = 0, .purpose = sim::Purpose::repair});
    std::vector<double> values(5);
    for (double& value : values) {
      value = stream.normal();
    }
    const MeanInterval interval = MeanInterval::of(values);
    num_holding += std::abs(interval.mean) <= interval.half_width.value() ? 1 : 0;
  }
  // Five standard errors of a proportion of 0.95.
  const double margin = 5.0 * std::sqrt(0.95 * 0.05 / kSamples);
  CHECK(static_cast<double>(num_holding) / kSamples == Approx(0.95).margin(margin));
}

TEST_CASE("a stop rule asks for the trials that the law of the square root needs",
          "[planner][confidence]") {
  const StopRule rule{.half_width = 0.01, .max_trials = 1000};
  CHECK(trials_wanted(rule, 100, 0.01) == 100);   // narrow enough
  CHECK(trials_wanted(rule, 100, 0.012) == 144);  // (0.012 / 0.01)^2 = 1.44
  CHECK(trials_wanted(rule, 100, 0.5) == 200);    // no more than twice as many at once
  CHECK(trials_wanted(rule, 600, 0.5) == 1000);   // no more than allowed
  CHECK(trials_wanted(rule, 1000, 0.5) == 1000);  // gives up
  CHECK(trials_wanted(rule, 1, std::nullopt) == 2);
  CHECK(trials_wanted(rule, 100, 0.0100001) == 101);  // always goes on
}
