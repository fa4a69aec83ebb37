#include "core/error.hpp"
#include "sim/fault_sampler.hpp"
#include "sim/job_life.hpp"
#include "sim/random.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"
#include "tests/sim/test_jobs.hpp"

#include <chrono>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

/// Two nodes of 8 GPUs, one of them a spare, and checkpoints of 10 s after 100 s of training.
JobSpec job_with_spare() {
  JobSpec job{.sites = {.cluster = {2, 8, 8}, .tp = 8, .num_job_sites = 1},
              .step_time = 7 * kSecond,
              .checkpoint = {.interval = 100 * kSecond, .cost = 10 * kSecond},
              .detect_crash = 5 * kSecond,
              .detect_hang = 60 * kSecond,
              .detect_timeout = 600 * kSecond,
              .replan = all_or_nothing(8, 1)};
  job.spares_needed = [](const SiteCensus& census) { return census.num_damaged(); };
  cost_of(job, Change::hardware_fault) = {
      .pause = 30 * kSecond, .rolls_back = true, .pause_from_memory = 4 * kSecond};
  cost_of(job, Change::software_fault) = {
      .pause = 40 * kSecond, .rolls_back = true, .pause_from_memory = 4 * kSecond};
  return job;
}

JobOutcome live(const JobSpec& job, std::vector<Fault> faults, std::vector<Slowdown> slow = {}) {
  return simulate_job(
      job,
      make_fault_timeline(job.sites.cluster, 1000 * kSecond, std::move(faults), std::move(slow)));
}

/// GPU-seconds.
std::int64_t seconds(const JobOutcome& outcome, Cause cause) {
  return outcome.ledger.gpu_ms(cause) / 1000;
}

}  // namespace

TEST_CASE("each kind of detection takes its own time", "[sim][job_life]") {
  const JobSpec job = job_with_spare();
  const auto detection = [&](Detection kind) {
    const JobOutcome outcome =
        live(job, {{.begin = 50 * kSecond, .end = kNever, .component = 0, .detection = kind}});
    return seconds(outcome, Cause::detection) / 15;  // GPUs that are up
  };
  CHECK(detection(Detection::crash) == 5);
  CHECK(detection(Detection::hang) == 60);
  CHECK(detection(Detection::timeout) == 600);
  CHECK(detection(Detection::planned) == 0);
}

TEST_CASE("planned work costs a checkpoint and the pause, no work", "[sim][job_life]") {
  const JobOutcome outcome = live(
      job_with_spare(),
      {{.begin = 250 * kSecond, .end = kNever, .component = 0, .detection = Detection::planned}});
  CHECK(seconds(outcome, Cause::lost_work) == 0);
  CHECK(seconds(outcome, Cause::recovery) == 15 * 40);
}

TEST_CASE("snapshots in memory survive what they are said to", "[sim][job_life]") {
  // A snapshot every 110 s, every third goes to storage. At 250 s: 200 s are in memory, none is
  // stored.
  JobSpec job = job_with_spare();
  job.checkpoint.snapshots_per_stored = 3;
  job.checkpoint.survives = {true, false, false, false};
  const auto lost = [&](BlastRadius radius) {
    const JobOutcome outcome =
        live(job, {{.begin = 250 * kSecond, .end = 251 * kSecond, .blast_radius = radius}});
    return seconds(outcome, Cause::lost_work) / 8;
  };
  CHECK(lost(BlastRadius::gpu) == 30);
  CHECK(lost(BlastRadius::node) == 230);
  CHECK(lost(BlastRadius::job) == 230);
  const JobOutcome outcome = live(job, {{.begin = 250 * kSecond, .end = kNever, .component = 0}});
  CHECK(seconds(outcome, Cause::recovery) == 15 * 4);
}

TEST_CASE("silent corruption loses the work and the checkpoints since it began",
          "[sim][job_life]") {
  // Found at 550 s. Checkpoints were complete at 110, 220, 330, 440 and 550 s.
  JobSpec job = job_with_spare();
  cost_of(job, Change::hardware_fault).rolls_back = false;  // and yet it must
  const auto kept = [&](std::int64_t silent_seconds) {
    const JobOutcome outcome =
        live(job,
             {{.begin = 550 * kSecond,
               .end = kNever,
               .component = 0,
               .silent_for = std::chrono::duration<std::int32_t>{silent_seconds}}});
    return 500 - seconds(outcome, Cause::lost_work) / 8;
  };
  CHECK(kept(1) == 400);
  CHECK(kept(110) == 400);
  CHECK(kept(111) == 300);
  CHECK(kept(400) == 100);
  CHECK(kept(441) == 0);
  CHECK(kept(5000) == 0);
  const JobOutcome outcome = live(job,
                                  {{.begin = 550 * kSecond,
                                    .end = kNever,
                                    .component = 0,
                                    .silent_for = std::chrono::duration<std::int32_t>{1}}});
  CHECK(seconds(outcome, Cause::recovery) == 15 * 40);  // a restart, as after software faults
}

TEST_CASE("the slowest active component sets the pace", "[sim][job_life]") {
  JobSpec job = job_with_spare();
  job.checkpoint = {};
  job.step_shares = {.compute = 0.5, .network = 0.25};
  const auto goodput = [&](std::vector<Slowdown> slow) {
    return live(job, {}, std::move(slow)).goodput;
  };
  const SimTime day = to_sim_time(Days{1});
  const Slowdown half{.begin = SimTime{0}, .end = day, .component = 3, .speed = 0.5};
  Slowdown other = half;
  CHECK(goodput({half}) == Approx(1.0 / 1.5));
  other.component = 12;  // the spare's
  CHECK(goodput({other}) == 1.0);
  other.component = 4;
  other.speed = 0.8;
  CHECK(goodput({half, other}) == Approx(1.0 / 1.5));
  other.component = 3;  // the same GPU: 0.4
  CHECK(goodput({half, other}) == Approx(1.0 / (0.5 + 0.5 / 0.4)));
  other = {.begin = -day,
           .end = 250 * kSecond,
           .blast_radius = BlastRadius::node,
           .resource = Resource::network,
           .speed = 0.1};
  CHECK(goodput({other}) == Approx(0.75 + 0.25 / (0.75 + 0.25 / 0.1)));
}

TEST_CASE("an interval that adapts finds Young's for the failures that happen", "[sim][job_life]") {
  // Expected ten times as often as they happen, or a tenth as often: the interval that adapts keeps
  // nearly the work of Young's interval for the true rate (sqrt(2 C M)), one that does not much
  // less.
  const Seconds gap{20'000};
  const Seconds cost{20};
  RandomStream stream(43, {.purpose = Purpose::arrival});
  std::vector<Fault> faults;
  SimTime now{0};
  for (int i = 0; i < 3000; ++i) {
    now += to_sim_time(gap * stream.exponential());
    faults.push_back({.begin = now, .end = now, .blast_radius = BlastRadius::job});
  }
  JobSpec job = one_gpu_job();
  cost_of(job, Change::software_fault).rolls_back = true;
  const FaultTimeline timeline = make_fault_timeline(job.sites.cluster, now, faults);
  const auto goodput = [&](double believed, bool adapts) {
    job.checkpoint = {.interval = to_sim_time(Seconds{std::sqrt(2.0 * 20.0 * 20'000.0 * believed)}),
                      .cost = to_sim_time(cost)};
    if (adapts) {
      job.checkpoint.interval = to_sim_time(Hours{10});
      job.checkpoint.first_mean_gap = to_sim_time(gap * believed);
    }
    return simulate_job(job, timeline).goodput;
  };
  const double best = goodput(1.0, false);
  for (const double believed : {0.1, 10.0}) {
    CHECK(goodput(believed, true) > best - 0.005);
    CHECK(goodput(believed, false) < best - 0.015);
  }
}

TEST_CASE("repaired hardware enters where it wins its pause back before the next failure",
          "[sim][job_life]") {
  // One of two sites comes back before the end at 1000 s: 0.5 more throughput for a pause of 20 s.
  // It pays where exp(-20 / T) > 1/2, T being the time between failures: from T = 20 / ln 2 = 28.9
  // s on; near the end where L - 20 > L / 2; and not where each failure of one of the 8 more active
  // GPUs costs so much that exp(-8 r c) < 1/2.
  JobSpec job{.sites = {.cluster = {2, 8, 8}, .tp = 8, .num_job_sites = 2},
              .step_time = kSecond,
              .replan = on_healthy_sites(8, 2, 1, 1)};
  job.spares_needed = [](const SiteCensus& census) { return census.num_damaged(); };
  cost_of(job, Change::rejoin).pause = 20 * kSecond;
  const auto outcome = [&](Interruptions interruptions, std::int64_t repaired = 100) {
    job.interruptions = interruptions;
    return live(job, {{.begin = -kSecond, .end = repaired * kSecond, .component = 3}});
  };
  const auto every = [](double seconds) { return Interruptions{.of_job_per_second = 1 / seconds}; };
  CHECK(outcome(every(28.8)).num_rejoins == 0);
  CHECK(outcome(every(28.8)).goodput == Approx(0.5));
  CHECK(outcome(every(28.8)).ledger.gpu_ms(Cause::idle) == (7 * 100 + 8 * 900) * 1000);
  CHECK(outcome(every(28.9)).num_rejoins == 1);
  CHECK(outcome({}).goodput == Approx((50.0 + 880.0) / 1000.0));
  CHECK(outcome(every(1e9), 959).num_rejoins == 1);
  CHECK(outcome(every(1e9), 961).num_rejoins == 0);
  CHECK(outcome({}, 961).num_rejoins == 1);
  const auto at_cost = [](double cost) {
    return Interruptions{.per_gpu_second = 1e-6, .cost = Seconds{cost}};
  };
  CHECK(outcome(at_cost(80'000)).num_rejoins == 1);
  CHECK(outcome(at_cost(90'000)).num_rejoins == 0);
}

TEST_CASE("a job that starts anew takes what has been repaired", "[sim][job_life]") {
  // A site comes back at 100 s and does not pay; at 200 s the software fails.
  JobSpec job{.sites = {.cluster = {2, 8, 8}, .tp = 8, .num_job_sites = 2},
              .step_time = kSecond,
              .interruptions = {.of_job_per_second = 1.0},
              .replan = on_healthy_sites(8, 2, 1, 1)};
  job.spares_needed = [](const SiteCensus& census) { return census.num_damaged(); };
  cost_of(job, Change::rejoin).pause = 20 * kSecond;
  const JobOutcome outcome =
      live(job,
           {{.begin = -kSecond, .end = 100 * kSecond, .component = 3},
            {.begin = 200 * kSecond, .end = 200 * kSecond, .blast_radius = BlastRadius::job}});
  CHECK(outcome.num_rejoins == 0);
  CHECK(outcome.goodput == Approx((100.0 + 800.0) / 1000.0));
}

TEST_CASE("impossible simulations are refused", "[sim][job_life]") {
  JobSpec job = one_gpu_job();
  const FaultTimeline faults{{1, 1, 1}, SimTime{1000}, {}};
  CHECK_NOTHROW(simulate_job(job, faults));
  CHECK_THROWS_AS(simulate_job(job, {{1, 1, 1}, SimTime{0}, {}}), InvalidArgument);
  CHECK_THROWS_AS(simulate_job(job, {{1, 2, 2}, SimTime{1000}, {}}), InvalidArgument);
  job.num_buckets = 1001;
  CHECK_THROWS_AS(simulate_job(job, faults), InvalidArgument);
  job.num_buckets = 0;
  CHECK_THROWS_AS(simulate_job(job, faults), InvalidArgument);
  job.num_buckets = 1;
  job.sites.cluster.num_nodes = 2;
  CHECK_THROWS_AS(simulate_job(job, faults), InvalidArgument);
}
