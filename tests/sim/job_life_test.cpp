#include "sim/job_life.hpp"

#include "core/error.hpp"
#include "sim/down_count.hpp"
#include "sim/fault_sampler.hpp"
#include "sim/random.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"
#include "tests/sim/sample_statistics.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

constexpr SimTime kSecond{1000};

ChangeCost& cost_of(JobSpec& job, Change change) {
  return job.change_costs[static_cast<std::size_t>(change)];
}

/// Runs on healthy sites alone, as many whole replicas as there are; `at_least` of them or waits.
Replanner on_healthy_sites(std::int32_t tp,
                           std::int64_t job_sites,
                           std::int64_t per_replica,
                           std::int64_t at_least) {
  return [=](const SiteCensus& census) {
    const std::int64_t replicas = std::min(census.num_healthy, job_sites) / per_replica;
    Operation operation{.full_degree = tp};
    if (replicas >= at_least) {
      operation.num_full_sites = replicas * per_replica;
      operation.throughput =
          static_cast<double>(operation.num_full_sites) / static_cast<double>(job_sites);
      operation.num_spare_sites =
          std::clamp<std::int64_t>(census.num_healthy + census.num_damaged() - job_sites,
                                   0,
                                   census.num_healthy - operation.num_full_sites);
    }
    return operation;
  };
}

Replanner all_or_nothing(std::int32_t tp, std::int64_t job_sites) {
  return on_healthy_sites(tp, job_sites, job_sites, 1);
}

/// Every GPU of the job's sites that is up works, and counts for its part.
Replanner on_what_is_left(std::int32_t tp, std::int64_t job_sites) {
  return [=](const SiteCensus& census) {
    Operation operation{.full_degree = tp,
                        .num_full_sites = std::min(census.num_healthy, job_sites)};
    std::int64_t num_gpus = operation.num_full_sites * tp;
    std::int64_t open = job_sites - operation.num_full_sites;
    operation.damaged_degrees.assign(census.num_lost.size(), 0);
    for (std::size_t i = census.num_lost.size(); i-- > 0 && open > 0; --open) {
      operation.damaged_degrees[i] = tp - census.num_lost[i];
      num_gpus += operation.damaged_degrees[i];
    }
    operation.num_spare_sites = census.num_healthy - operation.num_full_sites;
    operation.throughput = static_cast<double>(num_gpus) / static_cast<double>(job_sites * tp);
    return operation;
  };
}

/// A job with every kind of cost, all random.
JobSpec random_job(tests::Dice& dice) {
  const std::vector<SiteShape> shapes = {
      {.cluster = {.num_nodes = 6, .gpus_per_node = 8, .domain_size = 8}, .tp = 8},
      {.cluster = {.num_nodes = 36, .gpus_per_node = 4, .domain_size = 72}, .tp = 8},
      {.cluster = {.num_nodes = 36, .gpus_per_node = 4, .domain_size = 72}, .tp = 32},
      {.cluster = {.num_nodes = 5, .gpus_per_node = 8, .domain_size = 4}, .tp = 2}};
  JobSpec job{.sites = dice.pick(shapes)};
  job.sites.num_job_sites = static_cast<std::int32_t>(dice.between(1, job.sites.num_sites()));
  const std::int64_t sites = job.sites.num_job_sites;
  job.step_time = SimTime{dice.between(1, 30'000)};
  job.checkpoint = {.interval = dice.one_in(4) ? kNever : SimTime{dice.between(1, 7'200'000)},
                    .cost = SimTime{dice.between(0, 120'000)}};
  job.checkpoint.background = SimTime{dice.one_in(2) ? 0 : dice.between(0, 600'000)};
  job.checkpoint.snapshots_per_stored = dice.one_in(2) ? 1 : dice.between(1, 5);
  job.checkpoint.survives[dice.index(kNumBlastRadii)] = dice.one_in(2);
  job.checkpoint.first_mean_gap = SimTime{dice.one_in(2) ? 0 : dice.between(1, 90'000'000)};
  for (ChangeCost& cost : job.change_costs) {
    cost = {.pause = SimTime{dice.between(0, 1'000'000)},
            .rolls_back = dice.one_in(2),
            .pause_from_memory = SimTime{dice.between(0, 100'000)}};
  }
  if (dice.one_in(2)) {
    job.interruptions = {.of_job_per_second = 1.0 / static_cast<double>(dice.between(1, 10'000)),
                         .per_gpu_second = 1.0 / static_cast<double>(dice.between(1, 1'000'000)),
                         .cost = Seconds{static_cast<double>(dice.between(0, 1000))}};
  }
  job.detect_timeout = SimTime{dice.between(0, 1'000'000)};
  job.detect_crash = SimTime{dice.between(0, 10'000)};
  job.detect_hang = SimTime{dice.between(0, 1'000'000)};
  switch (dice.between(0, 2)) {
    case 0:
      job.replan = all_or_nothing(job.sites.tp, sites);
      break;
    case 1:
      job.replan = on_healthy_sites(job.sites.tp, sites, dice.between(1, sites), 1);
      break;
    default:
      job.replan = on_what_is_left(job.sites.tp, sites);
  }
  job.spares_needed = [](const SiteCensus& census) { return census.num_damaged(); };
  job.num_buckets = dice.between(1, 150);
  return job;
}

/// Faults on a cluster with a few nodes more than the job's: of every kind, overlapping, before the
/// job starts and after it ends, of no length and of endless length.
FaultTimeline random_faults(const ClusterShape& owned, SimTime duration, tests::Dice& dice) {
  ClusterShape shape = owned;
  shape.num_nodes += owned.domain_size * static_cast<std::int32_t>(dice.between(0, 2));
  std::vector<Fault> faults;
  for (std::int64_t i = dice.between(0, 60); i > 0; --i) {
    Fault fault;
    fault.blast_radius = static_cast<BlastRadius>(dice.one_in(2) ? 0 : dice.between(0, 3));
    fault.component =
        static_cast<std::int32_t>(dice.between(0, shape.num_components(fault.blast_radius) - 1));
    fault.begin = SimTime{dice.between(-duration.count() / 4, duration.count() * 5 / 4)};
    fault.end =
        dice.one_in(8) ? kNever : fault.begin + SimTime{dice.between(0, duration.count() / 3)};
    fault.end = dice.one_in(10) ? fault.begin : fault.end;
    fault.detection = static_cast<Detection>(dice.between(0, 3));
    fault.silent_for =
        std::chrono::duration<std::int32_t>{dice.one_in(5) ? dice.between(0, 200'000) : 0};
    faults.push_back(fault);
  }
  std::vector<Slowdown> slowdowns;
  for (std::int64_t i = dice.one_in(2) ? dice.between(0, 20) : 0; i > 0; --i) {
    const Fault place = faults.empty() ? Fault{} : dice.pick(faults);
    slowdowns.push_back({.begin = place.begin + SimTime{dice.between(0, 1'000'000)},
                         .end = kNever,
                         .component = place.component,
                         .blast_radius = place.blast_radius,
                         .resource = dice.one_in(2) ? Resource::compute : Resource::network,
                         .speed = 0.1 * static_cast<double>(dice.between(1, 10))});
  }
  return make_fault_timeline(shape, duration, std::move(faults), std::move(slowdowns));
}

SimTime random_duration(tests::Dice& dice) {
  return SimTime{dice.between(1'000, 500'000'000)};
}

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

/// One GPU that is the whole job, without costs.
JobSpec one_gpu_job() {
  JobSpec job{.sites = {.cluster = {1, 1, 1}, .tp = 1, .num_job_sites = 1},
              .step_time = SimTime{1}};
  job.replan = all_or_nothing(1, 1);
  job.spares_needed = [](const SiteCensus& census) { return census.num_damaged(); };
  job.num_buckets = 1;
  return job;
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
