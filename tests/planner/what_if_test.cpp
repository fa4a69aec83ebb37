#include "planner/what_if.hpp"

#include "tests/allocation_meter.hpp"
#include "tests/catch.hpp"
#include "tests/planner/shipped_scenario.hpp"
#include "tests/sim/rich_failures.hpp"

#include <cstddef>
#include <utility>

using namespace runflat;
using namespace runflat::planner;

namespace {

WhatIfRequest request_of(Scenario scenario, std::int64_t num_trials, std::int64_t num_threads) {
  WhatIfRequest request;
  request.scenario = std::move(scenario);
  request.num_trials = num_trials;
  request.num_threads = num_threads;
  request.with_loss_curves = false;
  return request;
}

}  // namespace

TEST_CASE("the number of threads changes nothing", "[planner][what_if]") {
  Scenario scenario = shipped_scenario("llama3-405b-h100");
  scenario.failures = sim::rich_failures();
  scenario.duration = Days{100};
  const auto one = run_what_if(request_of(scenario, 5, 1));
  const auto three = run_what_if(request_of(scenario, 5, 3));
  REQUIRE(one);
  REQUIRE(three);
  CHECK(to_value(*one) == to_value(*three));
}

TEST_CASE("a trial needs no more memory for ten years than for one", "[planner][what_if]") {
  // All policies, every failure process. What grows are vectors that double when a moment was
  // busier than all before: by less than the faults of nine years would take.
  struct Campaign {
    double peak = 0.0;
    double num_faults = 0.0;
  };
  Scenario scenario = shipped_scenario("llama3-405b-h100");
  scenario.failures = sim::rich_failures();
  const auto live = [&](Days duration) {
    scenario.duration = duration;
    const WhatIfRequest request = request_of(scenario, 1, 1);
    const tests::AllocationMeter meter;
    const auto result = run_what_if(request);
    REQUIRE(result);
    return Campaign{static_cast<double>(meter.peak()), result->faults_per_trial};
  };
  const Campaign year = live(Days{365});
  const Campaign decade = live(Days{3650});
  CAPTURE(year.peak, decade.peak, year.num_faults, decade.num_faults);
  CHECK(decade.num_faults > 8.0 * year.num_faults);
  CHECK(decade.peak - year.peak < (decade.num_faults - year.num_faults) * sizeof(sim::Fault) / 2.0);
}
