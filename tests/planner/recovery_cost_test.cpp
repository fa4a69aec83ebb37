#include "planner/recovery_cost.hpp"

#include "tests/catch.hpp"
#include "tests/planner/shipped_scenario.hpp"

#include <cmath>
#include <cstddef>

using namespace runflat;
using namespace runflat::planner;
using sim::Change;

namespace {

const sim::ChangeCost& cost_of(const std::array<sim::ChangeCost, sim::kNumChanges>& costs,
                               Change change) {
  return costs[static_cast<std::size_t>(change)];
}

}  // namespace

TEST_CASE("in-place recovery is quiesce, communicators, state and warm-up", "[planner][recovery]") {
  // 405B on TP 8 x PP 16: 14 bytes of 405e9 / 128 parameters on each GPU. 16,384 ranks are 2^14.
  const Scenario scenario = shipped_scenario("llama3-405b-h100");
  const double bytes = 14.0 * static_cast<double>(scenario.model.num_parameters()) / 128.0;
  CHECK(state_of_one_gpu(scenario).value == Approx(bytes));
  const double pause = 0.5 + (0.69 + 0.132 * 14.0) + (1.0 + bytes / 25e9) + 12.7;
  for (const PolicyKind policy : {PolicyKind::ntp, PolicyKind::ntp_pw, PolicyKind::dp_drop}) {
    const auto costs = change_costs(policy, scenario);
    const sim::ChangeCost& fault = cost_of(costs, Change::hardware_fault);
    CHECK(sim::to_seconds(fault.pause).count() == Approx(pause).margin(1e-3));
    CHECK_FALSE(fault.rolls_back);
    CHECK(cost_of(costs, Change::resume).pause == fault.pause);
  }
  const auto ntp = change_costs(PolicyKind::ntp, scenario);
  CHECK(cost_of(ntp, Change::rejoin).pause == cost_of(ntp, Change::hardware_fault).pause);
  const auto drop = change_costs(PolicyKind::dp_drop, scenario);
  CHECK(cost_of(drop, Change::rejoin).pause == sim::SimTime{180'000});
}

TEST_CASE(
    "software faults restart every policy from the checkpoint, hardware faults those "
    "without peers",
    "[planner][recovery]") {
  Scenario scenario = shipped_scenario("small");
  for (const PolicyKind policy : kAllPolicies) {
    CAPTURE(to_string(policy));
    const bool from_checkpoint = policy == PolicyKind::restart || policy == PolicyKind::uniform_tp;
    const auto costs = change_costs(policy, scenario);
    CHECK(cost_of(costs, Change::software_fault).rolls_back);
    CHECK(cost_of(costs, Change::software_fault).pause == sim::SimTime{600'000});
    CHECK(cost_of(costs, Change::hardware_fault).rolls_back == from_checkpoint);
    CHECK_FALSE(cost_of(costs, Change::resume).rolls_back);
    CHECK_FALSE(cost_of(costs, Change::rejoin).rolls_back);
  }
  CHECK(cost_of(change_costs(PolicyKind::spare_domain, scenario), Change::hardware_fault).pause ==
        sim::SimTime{300'000});
  scenario.recovery.peer_state = false;
  for (const PolicyKind policy : kAllPolicies) {
    const auto costs = change_costs(policy, scenario);
    CHECK(cost_of(costs, Change::hardware_fault).rolls_back);
    CHECK(cost_of(costs, Change::hardware_fault).pause >= sim::SimTime{600'000});
  }
}

TEST_CASE("checkpoints are Young's for the faults that roll the policy back",
          "[planner][recovery]") {
  // sqrt(2 C M), M = 1 / (faults a day).
  Scenario scenario = shipped_scenario("small");
  scenario.checkpoint.cost = Seconds{20};
  const FaultRates rates{.hardware_per_day = 6.0, .software_per_day = 2.0};
  const auto interval = [&](PolicyKind policy) {
    const sim::CheckpointSchedule schedule = checkpoint_schedule(policy, scenario, rates);
    CHECK(schedule.cost == sim::SimTime{20'000});
    return sim::to_seconds(schedule.interval).count();
  };
  const auto young = [](double per_day) { return std::sqrt(2.0 * 20.0 * 86400.0 / per_day); };
  CHECK(interval(PolicyKind::restart) == Approx(young(8.0)).margin(1e-3));
  CHECK(interval(PolicyKind::uniform_tp) == Approx(young(8.0)).margin(1e-3));
  CHECK(interval(PolicyKind::ntp) == Approx(young(2.0)).margin(1e-3));
  scenario.recovery.peer_state = false;
  CHECK(interval(PolicyKind::ntp) == Approx(young(8.0)).margin(1e-3));

  scenario.checkpoint.longest_interval = Seconds{300};
  CHECK(interval(PolicyKind::restart) == Approx(300.0));
  scenario.checkpoint.interval = Seconds{900};  // said outright
  CHECK(interval(PolicyKind::restart) == Approx(900.0));
  scenario.checkpoint.interval.reset();
  const FaultRates none;
  CHECK(checkpoint_schedule(PolicyKind::restart, scenario, none).interval == sim::SimTime{300'000});
}

TEST_CASE("free checkpoints are written as seldom as the scenario allows", "[planner][recovery]") {
  Scenario scenario = shipped_scenario("small");
  scenario.checkpoint.cost = Seconds{0};
  const auto schedule = checkpoint_schedule(
      PolicyKind::restart, scenario, {.hardware_per_day = 6.0, .software_per_day = 2.0});
  CHECK(schedule.cost == sim::SimTime{0});
  CHECK(schedule.interval == sim::to_sim_time(scenario.checkpoint.longest_interval));
}
