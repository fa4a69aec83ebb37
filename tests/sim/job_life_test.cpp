#include "sim/job_life.hpp"

#include "core/error.hpp"
#include "sim/down_count.hpp"
#include "sim/fault_sampler.hpp"
#include "sim/random.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"
#include "tests/sim/sample_statistics.hpp"
#include "tests/sim/test_jobs.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

/// GPU-milliseconds down, from the faults of owned hardware alone.
std::int64_t failed_gpu_ms(const FaultTimeline& timeline, const ClusterShape& owned) {
  FaultTimeline inside = timeline;
  inside.shape = owned;
  std::erase_if(inside.faults, [&](const Fault& fault) {
    return fault.component >= owned.num_components(fault.blast_radius);
  });
  const DownCount down(inside, BlastRadius::gpu);
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < down.steps().size(); ++i) {
    const SimTime end = i + 1 < down.steps().size() ? down.steps()[i + 1].begin : timeline.duration;
    sum += (end - down.steps()[i].begin).count() * down.steps()[i].num_down;
  }
  return sum;
}

bool same(const JobOutcome& a, const JobOutcome& b) {
  return a.ledger == b.ledger && a.goodput == b.goodput && a.availability == b.availability &&
         a.num_interruptions == b.num_interruptions && a.num_rejoins == b.num_rejoins &&
         a.goodput_by_bucket == b.goodput_by_bucket &&
         a.time_by_spares_needed == b.time_by_spares_needed;
}

}  // namespace

TEST_CASE("the ledger sums to GPUs x wall-clock exactly, whatever happens", "[sim][job_life]") {
  tests::Dice dice(31);
  for (int trial = 0; trial < 600; ++trial) {
    const JobSpec job = random_job(dice);
    const FaultTimeline faults = random_faults(job.sites.cluster, random_duration(dice), dice);
    const JobOutcome outcome = simulate_job(job, faults);
    const std::int64_t num_gpus = job.sites.cluster.num_gpus();
    REQUIRE(outcome.ledger.total_gpu_ms() == num_gpus * faults.duration.count());
    for (std::size_t cause = 0; cause < kNumCauses; ++cause) {
      REQUIRE(outcome.ledger.gpu_ms(static_cast<Cause>(cause)) >= 0);
    }
    REQUIRE(outcome.ledger.gpu_ms(Cause::failed) == failed_gpu_ms(faults, job.sites.cluster));
    REQUIRE(outcome.goodput >= -1e-12);
    REQUIRE(outcome.goodput <= outcome.availability + 1e-12);
    REQUIRE(outcome.availability <= 1.0);

    // Work that was kept is what the useful GPU time did; each rounding is half a GPU-ms at most.
    const double job_gpu_ms = static_cast<double>(job.sites.num_job_sites * job.sites.tp) *
                              static_cast<double>(faults.duration.count());
    const double roundings = 4.0 * static_cast<double>(faults.faults.size()) * 2.0 +
                             static_cast<double>(job.num_buckets);
    REQUIRE(std::abs(static_cast<double>(outcome.ledger.gpu_ms(Cause::useful)) -
                     outcome.goodput * job_gpu_ms) <= roundings + 1e-9 * job_gpu_ms);

    const auto spans = [](SimTime sum, SimTime span) { return sum + span; };
    REQUIRE(std::accumulate(outcome.time_by_spares_needed.begin(),
                            outcome.time_by_spares_needed.end(),
                            SimTime{},
                            spans) == faults.duration);
    REQUIRE(static_cast<std::int64_t>(outcome.goodput_by_bucket.size()) == job.num_buckets);
  }
}

TEST_CASE("the parts of a duration average to its goodput", "[sim][job_life]") {
  tests::Dice dice(32);
  for (int trial = 0; trial < 100; ++trial) {
    JobSpec job = random_job(dice);
    job.num_buckets = 100;
    const SimTime duration = 100 * SimTime{dice.between(1, 1'000'000)};
    const JobOutcome outcome = simulate_job(job, random_faults(job.sites.cluster, duration, dice));
    const double sum =
        std::accumulate(outcome.goodput_by_bucket.begin(), outcome.goodput_by_bucket.end(), 0.0);
    REQUIRE(sum / 100.0 == Approx(outcome.goodput).margin(1e-12));
  }
}

TEST_CASE("the same job and faults have the same outcome, and other hardware's faults none",
          "[sim][job_life]") {
  tests::Dice dice(33);
  for (int trial = 0; trial < 100; ++trial) {
    const JobSpec job = random_job(dice);
    const FaultTimeline faults = random_faults(job.sites.cluster, random_duration(dice), dice);
    FaultTimeline inside = faults;
    inside.shape = job.sites.cluster;
    std::erase_if(inside.faults, [&](const Fault& fault) {
      return fault.component >= inside.shape.num_components(fault.blast_radius);
    });
    const JobOutcome outcome = simulate_job(job, faults);
    REQUIRE(same(outcome, simulate_job(job, faults)));
    REQUIRE(same(outcome, simulate_job(job, inside)));
  }
}

TEST_CASE("cutting a trial into windows changes nothing", "[sim][job_life]") {
  tests::Dice dice(34);
  for (int trial = 0; trial < 200; ++trial) {
    const JobSpec job = random_job(dice);
    const FaultTimeline faults = random_faults(job.sites.cluster, random_duration(dice), dice);
    const std::vector<Corruption> corruptions = corruptions_of(faults.faults);
    JobLife life(job, faults.shape, faults.duration);
    FaultWindow rest = whole_window(faults, corruptions);
    SimTime end{};
    while (end < faults.duration) {
      end += SimTime{dice.between(1, faults.duration.count() / dice.between(1, 20) + 1)};
      const auto take = [&](auto& items) {
        const auto first_after = std::find_if(
            items.begin(), items.end(), [&](const auto& item) { return item.begin >= end; });
        const auto window = items.first(static_cast<std::size_t>(first_after - items.begin()));
        items = items.subspan(window.size());
        return window;
      };
      life.live_through({.end = end,
                         .faults = take(rest.faults),
                         .slowdowns = take(rest.slowdowns),
                         .corruptions = take(rest.corruptions)});
    }
    REQUIRE(same(std::move(life).finish(), simulate_job(job, faults)));
  }
}

TEST_CASE("without failures only checkpoints cost: goodput is interval / (interval + cost)",
          "[sim][job_life]") {
  tests::Dice dice(34);
  for (int trial = 0; trial < 100; ++trial) {
    JobSpec job = random_job(dice);
    const std::int64_t interval = dice.between(1, 3'600'000);
    const std::int64_t cost = dice.between(0, 60'000);
    job.checkpoint = {.interval = SimTime{interval}, .cost = SimTime{cost}};
    job.replan = all_or_nothing(job.sites.tp, job.sites.num_job_sites);
    job.num_buckets = 1;
    const SimTime duration = SimTime{interval + cost} * dice.between(1, 200);
    const JobOutcome outcome = simulate_job(job, {job.sites.cluster, duration, {}});
    REQUIRE(outcome.goodput ==
            static_cast<double>(interval) / static_cast<double>(interval + cost));
    REQUIRE(outcome.availability == 1.0);
    REQUIRE(outcome.num_interruptions == 0);
    REQUIRE(outcome.ledger.gpu_ms(Cause::lost_work) == 0);

    job.checkpoint = {};
    REQUIRE(simulate_job(job, {job.sites.cluster, duration, {}}).goodput == 1.0);
  }
}

TEST_CASE("one fault costs what its detection, pause and redone work add up to",
          "[sim][job_life]") {
  // Two nodes of 8, one of them a spare. Checkpoints after 100 s of training take 10 s, steps 7 s.
  JobSpec job{.sites = {.cluster = {2, 8, 8}, .tp = 8, .num_job_sites = 1},
              .step_time = 7 * kSecond,
              .checkpoint = {.interval = 100 * kSecond, .cost = 10 * kSecond},
              .detect_crash = 5 * kSecond,
              .detect_hang = 60 * kSecond,
              .replan = all_or_nothing(8, 1)};
  job.spares_needed = [](const SiteCensus& census) { return census.num_damaged(); };
  cost_of(job, Change::software_fault) = {.pause = 30 * kSecond, .rolls_back = true};
  cost_of(job, Change::hardware_fault) = {.pause = 20 * kSecond, .rolls_back = false};
  cost_of(job, Change::resume) = {.pause = 40 * kSecond, .rolls_back = false};
  const auto live = [&](std::vector<Fault> faults) {
    return simulate_job(job,
                        make_fault_timeline(job.sites.cluster, 1000 * kSecond, std::move(faults)));
  };
  const auto seconds = [](const JobOutcome& outcome, Cause cause) {
    return outcome.ledger.gpu_ms(cause) / 1000;  // GPU-seconds
  };

  // At 250 s: 220 s checkpointed at 110 and 220, 30 s trained since and lost.
  Fault fault{.begin = 250 * kSecond, .end = 250 * kSecond, .blast_radius = BlastRadius::job};
  JobOutcome outcome = live({fault});
  CHECK(outcome.num_interruptions == 1);
  CHECK(seconds(outcome, Cause::lost_work) == 8 * 30);
  CHECK(seconds(outcome, Cause::detection) == 8 * 5);
  CHECK(seconds(outcome, Cause::recovery) == 8 * 30);
  CHECK(seconds(outcome, Cause::spare) == 8 * 1000);
  // Up for 250 s and from 285 s on: 715 s, with checkpoints 110, 220, ..., 660: 6 of them.
  CHECK(seconds(outcome, Cause::checkpoint) == 8 * (20 + 60));
  CHECK(outcome.goodput == Approx((200.0 + 715.0 - 60.0) / 1000.0));
  CHECK(outcome.availability == Approx(965.0 / 1000.0));

  // A hang is found later.
  fault.detection = Detection::hang;
  CHECK(seconds(live({fault}), Cause::detection) == 8 * 60);

  // An active GPU: only the step in flight is lost: 230 s trained, 230 mod 7 = 6 s. The other
  // seven GPUs of the node are idle from then on.
  fault = {.begin = 250 * kSecond, .end = kNever, .component = 3};
  outcome = live({fault});
  CHECK(seconds(outcome, Cause::lost_work) == 8 * 6);
  CHECK(seconds(outcome, Cause::failed) == 750);
  CHECK(seconds(outcome, Cause::detection) == 15 * 5);
  CHECK(seconds(outcome, Cause::idle) == 7 * (1000 - 275));

  // A GPU of the spare interrupts nothing.
  fault.component = 9;
  outcome = live({fault});
  CHECK(outcome.num_interruptions == 0);
  CHECK(outcome.availability == 1.0);

  // Both nodes: the job waits for the first repair, 400 s later, and resumes in 40 s.
  outcome = live({{.begin = 250 * kSecond, .end = kNever, .component = 3},
                  {.begin = 250 * kSecond, .end = 650 * kSecond, .component = 9}});
  CHECK(outcome.availability == Approx((250.0 + 310.0) / 1000.0));
  CHECK(outcome.time_by_spares_needed.size() == 2);
  CHECK(outcome.time_by_spares_needed[1] == 750 * kSecond);
}

TEST_CASE("faults of the warm-up are down from the start and interrupt nothing",
          "[sim][job_life]") {
  JobSpec job{.sites = {.cluster = {2, 8, 8}, .tp = 8, .num_job_sites = 2},
              .step_time = kSecond,
              .replan = on_healthy_sites(8, 2, 1, 1)};
  job.spares_needed = [](const SiteCensus& census) { return census.num_damaged(); };
  const SimTime day = to_sim_time(Days{1});
  const JobOutcome outcome =
      simulate_job(job,
                   make_fault_timeline(job.sites.cluster,
                                       day,
                                       {{.begin = -day, .end = day / 2, .component = 3},
                                        {.begin = -day, .end = SimTime{0}, .component = 9}}));
  CHECK(outcome.num_interruptions == 0);
  CHECK(outcome.num_rejoins == 1);
  CHECK(outcome.goodput == Approx(0.75));
  CHECK(outcome.ledger.gpu_ms(Cause::failed) == day.count() / 2);
  CHECK(outcome.ledger.gpu_ms(Cause::idle) == 7 * day.count() / 2);
}

TEST_CASE("exponential interruptions with checkpoints keep the renewal formula's work",
          "[sim][job_life]") {
  // Each gap X between faults (rate a) starts with R of recovery; then every t + C keep t of work:
  //   E[kept] = t sum_k P(X >= R + k (t + C)) = t exp(-a R) / (exp(a (t + C)) - 1).
  // The same with steps for checkpoints (C = 0) where a fault costs the step in flight only. A
  // snapshot that takes B to storage counts from then on: R + B in place of R.
  struct Case {
    Seconds mean_gap, interval, cost, detect, pause;
    bool rolls_back;
    Seconds background{0.0};
  };
  const Case c =
      GENERATE(Case{Seconds{11'000}, Seconds{670}, Seconds{20}, Seconds{5}, Seconds{600}, true},
               Case{Seconds{3'000}, Seconds{3'600}, Seconds{60}, Seconds{60}, Seconds{300}, true},
               Case{Seconds{500}, Seconds{100}, Seconds{100}, Seconds{0}, Seconds{1'000}, true},
               Case{Seconds{11'000}, Seconds{4'000}, Seconds{0}, Seconds{5}, Seconds{20}, false},
               Case{Seconds{11'000},
                    Seconds{100},
                    Seconds{0.5},
                    Seconds{5},
                    Seconds{600},
                    true,
                    Seconds{99}});
  constexpr int kGapsPerBatch = 1000;
  std::vector<double> kept;  // milliseconds per gap, by batch
  for (std::uint32_t batch = 0; batch < 60; ++batch) {
    RandomStream stream(41, {.trial = batch, .purpose = Purpose::arrival});
    std::vector<Fault> faults;
    SimTime now{0};
    for (int gap = 0; gap < kGapsPerBatch; ++gap) {  // from a fault to the next: whole gaps only
      faults.push_back({.begin = now, .end = now, .blast_radius = BlastRadius::job});
      now += to_sim_time(c.mean_gap * stream.exponential());
    }
    faults.push_back({.begin = now, .end = now, .blast_radius = BlastRadius::job});
    JobSpec job = one_gpu_job();
    if (c.rolls_back) {
      job.checkpoint = {.interval = to_sim_time(c.interval),
                        .cost = to_sim_time(c.cost),
                        .background = to_sim_time(c.background)};
    } else {
      job.step_time = to_sim_time(c.interval);
    }
    job.detect_crash = to_sim_time(c.detect);
    cost_of(job, Change::software_fault) = {.pause = to_sim_time(c.pause),
                                            .rolls_back = c.rolls_back};
    const SimTime duration = now + SimTime{1};  // the last fault still takes its toll
    const JobOutcome outcome =
        simulate_job(job, make_fault_timeline(job.sites.cluster, duration, std::move(faults)));
    REQUIRE(outcome.num_interruptions == kGapsPerBatch + 1);
    kept.push_back(outcome.goodput * static_cast<double>(duration.count()) / kGapsPerBatch);
  }
  const double rate = 1.0 / c.mean_gap.count();
  const double expected = c.interval.count() *
                          std::exp(-rate * (c.detect + c.pause + c.background).count()) /
                          std::expm1(rate * (c.interval + c.cost).count());
  const Estimate measured = estimate(kept);
  CAPTURE(measured.mean, measured.standard_error, expected);
  CHECK(measured.agrees_with(1000.0 * expected, 2.0));  // gaps are whole milliseconds
  CHECK(measured.standard_error < 0.02 * measured.mean);
}

TEST_CASE("availability with spares is that of N independent machines", "[sim][job_life]") {
  // N one-GPU sites that fail at rate a (also while down) and are down for D after each fault:
  // each is up with probability p = exp(-a D) in the steady state, and a job of J sites without
  // costs is up while at least J of N are: sum_{k >= J} C(N, k) p^k (1 - p)^(N - k).
  // Dropping lost sites instead keeps E[min(J, up)] / J of the work.
  constexpr int kSites = 12;
  const int job_sites = GENERATE(12, 11, 9);
  const double rate = 0.02;  // per day
  const Days repair{4};
  const FailureModel model{.classes = {{.name = "gpu",
                                        .rate_per_node_day = rate,
                                        .repair = Distribution::constant(repair)}},
                           .warm_up = repair};
  const double p = std::exp(-rate * repair.count());
  double up = 0.0;
  double work = 0.0;
  for (int k = 0; k <= kSites; ++k) {
    const double chance =
        std::exp(std::lgamma(kSites + 1.0) - std::lgamma(k + 1.0) - std::lgamma(kSites - k + 1.0)) *
        std::pow(p, k) * std::pow(1.0 - p, kSites - k);
    up += k >= job_sites ? chance : 0.0;
    work += chance * std::min(k, job_sites) / job_sites;
  }
  JobSpec job{.sites = {.cluster = {kSites, 1, 1}, .tp = 1, .num_job_sites = job_sites},
              .step_time = SimTime{1}};
  job.spares_needed = [](const SiteCensus& census) { return census.num_damaged(); };
  std::vector<double> waits;
  std::vector<double> drops;
  for (std::uint32_t trial = 0; trial < 200; ++trial) {
    const FaultTimeline faults =
        sample_faults(model, job.sites.cluster, to_sim_time(Days{400}), 42, trial);
    job.replan = all_or_nothing(1, job_sites);
    const JobOutcome waiting = simulate_job(job, faults);
    REQUIRE(waiting.goodput == Approx(waiting.availability));
    waits.push_back(waiting.availability);
    job.replan = on_healthy_sites(1, job_sites, 1, 1);
    drops.push_back(simulate_job(job, faults).goodput);
  }
  CHECK(estimate(waits).agrees_with(up));
  CHECK(estimate(drops).agrees_with(work));
}
