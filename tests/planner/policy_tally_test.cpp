#include "planner/policy_tally.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"

#include <vector>

using namespace runflat;
using namespace runflat::planner;
using sim::SimTime;

namespace {

/// A job that needed `sites[i]` milliseconds with i spare sites.
sim::JobOutcome outcome(double goodput, std::vector<SimTime> sites) {
  sim::JobOutcome made;
  made.goodput = goodput;
  made.availability = 1.0;
  made.num_interruptions = 3;
  made.goodput_by_bucket = {goodput, 0.0};
  made.time_by_spares_needed = std::move(sites);
  made.ledger.add(sim::Cause::useful, 2, SimTime{3'600'000});
  return made;
}

}  // namespace

TEST_CASE("a tally of trials holds their means", "[planner][policy_tally]") {
  PolicyTally tally(1);
  tally.add(outcome(0.5, {SimTime{10}}));
  tally.add(outcome(1.0, {SimTime{10}}));
  PolicyResult result;
  tally.summarise(result);
  CHECK(result.goodput.mean == 0.75);
  CHECK(result.goodput_interval.half_width.value() == Approx(12.7062 * 0.25));
  CHECK(result.goodput_by_bucket == std::vector<double>{0.75, 0.0});
  CHECK(result.num_interruptions == 3.0);
  CHECK(result.owned_gpu_hours == 2.0);
  CHECK(result.lost_gpu_hours() == 0.0);
}

TEST_CASE("spares that are needed count as whole domains", "[planner][policy_tally]") {
  // Two sites a domain: 60 ms without a spare, 30 ms with one domain (1 or 2 sites), 10 ms with
  // two.
  PolicyTally tally(2);
  tally.add(outcome(1.0, {SimTime{50}, SimTime{0}, SimTime{0}, SimTime{0}}));
  tally.add(outcome(1.0, {SimTime{10}, SimTime{10}, SimTime{20}, SimTime{10}}));
  PolicyResult result;
  tally.summarise(result);
  CHECK(result.full_batch_share == std::vector<double>{0.6, 0.9, 1.0});
  CHECK(result.spares_for_99pct == 2);
  CHECK(result.peak_spares.mean == 1.0);  // 0 and 2
  CHECK(result.peak_spares.p95 == Approx(1.9));
}

TEST_CASE("a tally of nothing has no summary", "[planner][policy_tally]") {
  PolicyResult result;
  CHECK_THROWS_AS(PolicyTally(1).summarise(result), InvalidArgument);
}
