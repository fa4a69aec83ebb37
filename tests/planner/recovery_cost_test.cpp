#include "planner/recovery_cost.hpp"

#include "core/transition.hpp"
#include "planner/plan_job.hpp"
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

TEST_CASE("every term of a recovery follows its key", "[planner][recovery]") {
  Scenario scenario = shipped_scenario("llama3-405b-h100");
  const double job_bytes = 14.0 * static_cast<double>(scenario.model.num_parameters());
  CHECK(state_of_job(scenario).value == Approx(job_bytes));
  const auto fault = [&](PolicyKind policy) {
    const auto costs = change_costs(policy, scenario);
    return sim::to_seconds(cost_of(costs, Change::hardware_fault).pause).count();
  };
  const double plain = fault(PolicyKind::ntp);
  scenario.recovery.quiesce_pending = Seconds{0.3};
  CHECK(fault(PolicyKind::ntp) == Approx(plain + 0.3).margin(2e-3));
  scenario.recovery.quiesce_pending = Seconds{0};

  // 16,384 ranks: 2 s + 26 s / 36 for new communicators, 0.69 s + 14 * 0.132 s to shrink.
  scenario.recovery.communicators = Communicators::reinitialise;
  CHECK(fault(PolicyKind::ntp) ==
        Approx(plain - (0.69 + 0.132 * 14.0) + 2.0 + 26.0 / 36.0).margin(2e-3));
  scenario.recovery.communicators = Communicators::shrink;

  CHECK(fault(PolicyKind::spare_domain) == Approx(300.0));
  CHECK(fault(PolicyKind::train_mover) == Approx(20.0));
  scenario.recovery.hot_spares = true;
  CHECK(fault(PolicyKind::spare_domain) == Approx(20.0));

  // A restart by its parts; from memory the state comes from another host instead of storage.
  scenario.recovery.start = Seconds{90};
  const double load = job_bytes / 48e9;
  const double around = 90.0 + 0.69 + 0.132 * 14.0 + 12.7;
  CHECK(fault(PolicyKind::restart) == Approx(around + load).margin(2e-3));
  CHECK(fault(PolicyKind::uniform_tp) == fault(PolicyKind::restart));
  const auto costs = change_costs(PolicyKind::restart, scenario);
  const double copy = 1.0 + job_bytes / 128.0 / 25e9;
  CHECK(sim::to_seconds(cost_of(costs, Change::software_fault).pause_from_memory).count() ==
        Approx(around + copy).margin(2e-3));
}

TEST_CASE("checkpoints of each kind block, store and survive as they are said to",
          "[planner][recovery]") {
  Scenario scenario = shipped_scenario("llama3-405b-h100");
  const FaultRates rates{.hardware_per_day = 6.0, .software_per_day = 2.0};
  const auto schedule = [&] { return checkpoint_schedule(PolicyKind::restart, scenario, rates); };
  const double gap = 86400.0 / 8.0;
  const double store = state_of_job(scenario).value / 33e9;
  CHECK(schedule().background == sim::SimTime{0});
  CHECK(schedule().survives == std::array<bool, 4>{});

  scenario.checkpoint.kind = CheckpointKind::asynchronous;
  scenario.checkpoint.cost = Seconds{0.5};
  CHECK(sim::to_seconds(schedule().background).count() == Approx(store).margin(1e-3));
  CHECK(sim::to_seconds(schedule().interval).count() ==
        Approx(std::sqrt(2.0 * 0.5 * gap)).margin(1e-3));
  CHECK(schedule().survives == std::array<bool, 4>{});

  scenario.checkpoint.kind = CheckpointKind::in_memory;
  scenario.checkpoint.cost = Seconds{0.04};
  const double interval = std::sqrt(2.0 * 0.04 * gap);
  CHECK(schedule().snapshots_per_stored == static_cast<std::int64_t>(1800.0 / (interval + 0.04)));
  CHECK(schedule().survives_in_memory(sim::BlastRadius::node));
  CHECK_FALSE(schedule().survives_in_memory(sim::BlastRadius::domain));

  scenario.checkpoint.kind = CheckpointKind::synchronous;
  scenario.checkpoint.cost = Seconds{20};
  scenario.checkpoint.rule = IntervalRule::daly;  // eq. 37
  const double share = 20.0 / (2.0 * gap);
  CHECK(sim::to_seconds(schedule().interval).count() ==
        Approx(std::sqrt(2.0 * 20.0 * gap) * (1.0 + std::sqrt(share) / 3.0 + share / 9.0) - 20.0)
            .margin(1e-3));
  scenario.checkpoint.rule = IntervalRule::adaptive;
  CHECK(schedule().interval == sim::to_sim_time(scenario.checkpoint.longest_interval));
  CHECK(sim::to_seconds(schedule().first_mean_gap).count() == Approx(gap).margin(1e-3));
}

TEST_CASE("the transition between two plans takes no longer than in-place recovery is priced",
          "[planner][recovery]") {
  // But for what the mean leaves out: the stage with the embedding holds more, and what moves over
  // the network may have to move on over NVLink.
  const Scenario scenario = shipped_scenario("small");
  const auto healthy = plan_job(scenario, PolicyKind::ntp, Health{});
  REQUIRE(healthy);
  CHECK(transition_time({}, scenario) == Seconds{0});
  const auto costs = change_costs(PolicyKind::ntp, scenario);
  const Seconds priced = sim::to_seconds(cost_of(costs, Change::hardware_fault).pause);
  const double embedding_bytes =
      14.0 *
      static_cast<double>((scenario.model.padded_vocab_size + scenario.model.seq_length) *
                          scenario.model.hidden_size) /
      static_cast<double>(scenario.layout.tp);
  const Seconds embedding{embedding_bytes / 25e9};
  const Seconds nvlink{state_of_one_gpu(scenario).value / 300e9};
  for (const std::int64_t gpu : {0, 13, 40, 63}) {
    const auto damaged = plan_job(scenario, PolicyKind::ntp, Health({GpuId(gpu)}));
    REQUIRE(damaged);
    const auto transition = make_transition(*healthy, *damaged);
    REQUIRE(transition);
    const Seconds time = transition_time(*transition, scenario);
    CHECK(time <= priced + embedding + nvlink + Seconds{1e-3});
    CHECK(time > scenario.recovery.quiesce + scenario.recovery.warm_up);
  }
}
