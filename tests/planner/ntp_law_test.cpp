// ntp against dp_drop on the same faults. Path by path ntp keeps at least as much where its changes
// take no time, and else at least as much but for its own pauses: no policy that ever uses a GPU
// that dp_drop leaves idle can promise more, because that GPU can die the moment after. In
// expectation ntp keeps at least as much where its changes take no longer than dp_drop's and the
// faults are memoryless: it takes up what dp_drop leaves idle only where that adds more than its
// being hit costs, and makes a change that dp_drop does not make only where that is expected to win
// the pause back before the next interruption, which brings the change for nothing. (That weighs an
// operation by what it does in the long run; one that is repaired before its own pause is over was
// exposed for nothing. So repairs are to outlast pauses.)

#include "planner/policy.hpp"
#include "planner/what_if.hpp"
#include "sim/fault_sampler.hpp"
#include "sim/job_life.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"
#include "tests/planner/job_under.hpp"
#include "tests/planner/random_rates.hpp"
#include "tests/planner/shipped_scenario.hpp"
#include "tests/sim/sample_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

using namespace runflat;
using namespace runflat::planner;

namespace {

constexpr double kNoise = 1e-12;

struct Cluster {
  sim::SiteShape shape;
  std::int64_t per_replica;
};

/// Failures of GPUs, nodes, domains and software that leave several sites damaged at a time.
sim::FaultTimeline busy_timeline(const sim::ClusterShape& shape, std::uint32_t trial) {
  const auto kind = [](const char* name, sim::BlastRadius radius, double rate, Hours repair) {
    return sim::FailureClass{.name = name,
                             .blast_radius = radius,
                             .rate_per_node_day = rate,
                             .repair = sim::Distribution::exponential(repair)};
  };
  const sim::FailureModel model{
      .classes = {kind("gpu", sim::BlastRadius::gpu, 0.02, Hours{60}),
                  kind("node", sim::BlastRadius::node, 0.005, Hours{12}),
                  kind("domain", sim::BlastRadius::domain, 0.001, Hours{6}),
                  kind("job", sim::BlastRadius::job, 0.002, Hours{0.1})},
      .warm_up = Days{20}};
  return sim::sample_faults(model, shape, sim::to_sim_time(Days{30}), 68, trial);
}

Cluster random_cluster(tests::Dice& dice) {
  const std::vector<Cluster> clusters = {
      {{.cluster = {64, 8, 8}, .tp = 8, .num_job_sites = 64}, 4},
      {{.cluster = {16, 8, 8}, .tp = 8, .num_job_sites = 16}, 2},
      {{.cluster = {8, 8, 8}, .tp = 8, .num_job_sites = 8}, 1},
      {{.cluster = {72, 4, 72}, .tp = 32, .num_job_sites = 8}, 2},
      {{.cluster = {18, 4, 72}, .tp = 8, .num_job_sites = 8}, 2}};
  return dice.pick(clusters);
}

PolicyRates rates_on(const Cluster& cluster, tests::Dice& dice) {
  PolicyRates rates = random_rates(dice, cluster.shape.tp, cluster.per_replica);
  rates.num_replicas = cluster.shape.num_job_sites / cluster.per_replica;
  offer_all(rates);
  return rates;
}

/// 10^x for an x between the two.
double random_power_of_10(tests::Dice& dice, double low, double high) {
  return std::pow(10.0, low + (high - low) * 0.01 * static_cast<double>(dice.between(0, 100)));
}

/// What a memoryless scenario costs ntp and dp_drop.
struct Costs {
  Seconds pause;
  Seconds rejoin;
};

/// Everything random: how often GPUs and software fail, from long pauses (a pause is up to as long
/// as the time between faults) to short ones, repairs from three pauses up.
struct Memoryless {
  Cluster cluster{};
  PolicyRates rates{};
  sim::FailureModel failures{};
  sim::Interruptions hits{};
  sim::SimTime duration{};
  Costs ntp{};
  Costs drop{};
  bool drop_always_rejoins = false;
};

Memoryless random_scenario(tests::Dice& dice) {
  Memoryless scenario;
  scenario.cluster = random_cluster(dice);
  scenario.rates = rates_on(scenario.cluster, dice);
  const sim::ClusterShape& shape = scenario.cluster.shape.cluster;
  const double per_gpu_day = random_power_of_10(dice, -3.0, -1.0);
  const double per_day = per_gpu_day * shape.num_gpus();
  const double software_per_day = dice.one_in(2) ? 0.0 : per_day * random_power_of_10(dice, -1, 0);
  const Seconds gap = Days{1.0 / per_day};
  scenario.hits = {.of_job_per_second = software_per_day / 86'400.0,
                   .per_gpu_second = per_gpu_day / 86'400.0};
  scenario.ntp.pause = gap * random_power_of_10(dice, -3.0, 0.0);
  scenario.ntp.rejoin =
      scenario.ntp.pause * (dice.one_in(2) ? 1.0 : random_power_of_10(dice, -2, 0.5));
  scenario.drop.pause =
      scenario.ntp.pause * (dice.one_in(2) ? 1.0 : random_power_of_10(dice, 0, 0.5));
  scenario.drop.rejoin =
      scenario.ntp.rejoin * (dice.one_in(2) ? 1.0 : random_power_of_10(dice, 0, 1));
  scenario.drop_always_rejoins = dice.one_in(2);
  const Hours repair =
      std::max<Hours>(3.0 * scenario.ntp.pause, Hours{random_power_of_10(dice, -1, 2)});
  scenario.failures = {
      .classes = {{.name = "gpu",
                   .blast_radius = sim::BlastRadius::gpu,
                   .rate_per_node_day = per_gpu_day * shape.gpus_per_node,
                   .repair = dice.one_in(2) ? sim::Distribution::exponential(repair)
                                            : sim::Distribution::constant(repair)},
                  {.name = "software",
                   .blast_radius = sim::BlastRadius::job,
                   .rate_per_node_day = software_per_day / shape.num_nodes}},
      .warm_up = 3.0 * repair};
  scenario.duration = sim::to_sim_time(200.0 * gap);
  return scenario;
}

sim::JobSpec job_of(const Memoryless& scenario, PolicyKind policy) {
  const bool is_ntp = policy == PolicyKind::ntp;
  const Costs& costs = is_ntp ? scenario.ntp : scenario.drop;
  PolicyRates rates = scenario.rates;
  rates.interruptions = scenario.hits;
  rates.interruptions.cost = costs.pause;
  sim::JobSpec job =
      job_under(policy, rates, scenario.cluster.shape, sim::to_sim_time(costs.pause));
  job.change_costs[static_cast<std::size_t>(sim::Change::rejoin)].pause =
      sim::to_sim_time(costs.rejoin);
  if (is_ntp || !scenario.drop_always_rejoins) {
    job.interruptions = rates.interruptions;
  }
  return job;
}

}  // namespace

TEST_CASE("path by path ntp keeps at least what dropping replicas keeps, but for its own pauses",
          "[planner][laws]") {
  const Cluster cluster =
      GENERATE(Cluster{{.cluster = {64, 8, 8}, .tp = 8, .num_job_sites = 64}, 4},
               Cluster{{.cluster = {72, 4, 72}, .tp = 8, .num_job_sites = 32}, 4},
               Cluster{{.cluster = {72, 4, 72}, .tp = 32, .num_job_sites = 8}, 2});
  tests::Dice dice(69);
  for (std::uint32_t trial = 0; trial < 10; ++trial) {
    const PolicyRates rates = rates_on(cluster, dice);
    const sim::FaultTimeline faults = busy_timeline(cluster.shape.cluster, trial);
    const auto live = [&](PolicyKind policy, sim::SimTime pause) {
      return sim::simulate_job(job_under(policy, rates, cluster.shape, pause), faults);
    };
    for (const PolicyKind policy : kAllPolicies) {
      const sim::JobOutcome outcome = live(policy, sim::to_sim_time(Hours{0.1}));
      REQUIRE(outcome.ledger.total_gpu_ms() ==
              cluster.shape.cluster.num_gpus() * faults.duration.count());
      REQUIRE(outcome.goodput <= outcome.availability + kNoise);
    }
    const double free_ntp = live(PolicyKind::ntp, {}).goodput;
    for (const double seconds : {0.0, 20.0, 2000.0}) {
      const double drop = live(PolicyKind::dp_drop, sim::to_sim_time(Seconds{seconds})).goodput;
      REQUIRE(free_ntp >= drop - kNoise);
    }

    // Changes that cost the same pause: ntp makes more of them, each of which can cost it no more
    // than the pause.
    const sim::SimTime pause = sim::to_sim_time(Seconds{20});
    const sim::JobOutcome drop = live(PolicyKind::dp_drop, pause);
    const sim::JobOutcome ntp = live(PolicyKind::ntp, pause);
    const auto num_pauses = static_cast<double>(ntp.num_interruptions + ntp.num_rejoins);
    REQUIRE(ntp.goodput >= drop.goodput - num_pauses * static_cast<double>(pause.count()) /
                                              static_cast<double>(faults.duration.count()));
  }
}

TEST_CASE("on some paths ntp ends below dropping: where the GPUs that it alone uses are hit",
          "[planner][laws]") {
  // Two replicas of one site of 8; at degree 7 a replica does half a batch. A GPU of site 1 is lost
  // at 100 s, for ever, and another one at 121 s, 1 s after ntp came back from its pause of 20 s.
  PolicyRates rates{.tp = 8,
                    .num_replicas = 2,
                    .reduced = std::vector<DegreeRate>(9),
                    .healthy_slowdown = std::vector<double>(9, 1.0)};
  rates.reduced[7] = {.num_microbatches = 1, .share = 0.5};
  const sim::SiteShape shape{.cluster = {2, 8, 8}, .tp = 8, .num_job_sites = 2};
  const sim::SimTime second{1000};
  const sim::FaultTimeline faults =
      sim::make_fault_timeline(shape.cluster,
                               200 * second,
                               {{.begin = 100 * second, .end = sim::kNever, .component = 8},
                                {.begin = 121 * second, .end = sim::kNever, .component = 9}});
  const auto work = [&](PolicyKind policy) {
    return sim::simulate_job(job_under(policy, rates, shape, 20 * second), faults).goodput * 200.0;
  };
  CHECK(work(PolicyKind::dp_drop) == Approx(100.0 + 80.0 * 0.5));
  CHECK(work(PolicyKind::ntp) == Approx(100.0 + 1.0 * 0.75 + 59.0 * 0.5));
}

TEST_CASE("in expectation ntp keeps at least what dropping replicas keeps", "[planner][laws]") {
  constexpr std::uint32_t kNumTrials = 60;
  tests::Dice dice(5);
  for (int i = 0; i < 60; ++i) {
    const Memoryless scenario = random_scenario(dice);
    const sim::JobSpec ntp = job_of(scenario, PolicyKind::ntp);
    const sim::JobSpec drop = job_of(scenario, PolicyKind::dp_drop);
    std::vector<double> gains;
    for (std::uint32_t trial = 0; trial < kNumTrials; ++trial) {
      const sim::FaultTimeline faults = sim::sample_faults(
          scenario.failures, scenario.cluster.shape.cluster, scenario.duration, 77, trial);
      gains.push_back(simulate_job(ntp, faults).goodput - simulate_job(drop, faults).goodput);
    }
    const sim::Estimate gain = sim::estimate(gains);
    CAPTURE(i, gain.mean, gain.standard_error, scenario.ntp.pause.count());
    REQUIRE(gain.mean >= -5.0 * gain.standard_error - kNoise);
  }
}

TEST_CASE("on every shipped scenario ntp keeps at least what dropping replicas keeps",
          "[planner][laws]") {
  const std::string name = GENERATE("small", "llama3-405b-h100", "ntp-paper-b200", "trace-3k-h100");
  for (const RejoinRule rule : {RejoinRule::always, RejoinRule::when_it_pays}) {
    WhatIfRequest request;
    request.scenario = shipped_scenario(name);
    request.scenario.recovery.rejoin_rule = rule;
    request.policies = {PolicyKind::dp_drop, PolicyKind::ntp, PolicyKind::ntp_pw};
    request.num_trials = name == "small" ? 100 : 20;
    request.with_loss_curves = false;
    const auto result = run_what_if(request);
    REQUIRE(result);
    for (const PolicyDifference& difference : result->differences) {
      if (difference.other == PolicyKind::dp_drop) {
        CAPTURE(name, to_string(difference.policy), difference.goodput.mean);
        CHECK(difference.goodput.mean >= 0.0);
      }
    }
  }
}
