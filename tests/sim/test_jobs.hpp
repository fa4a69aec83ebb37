#pragma once

#include "sim/fault_timeline.hpp"
#include "sim/job_life.hpp"
#include "tests/dice.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace runflat::sim {

inline constexpr SimTime kSecond{1000};

[[nodiscard]] inline ChangeCost& cost_of(JobSpec& job, Change change) {
  return job.change_costs[static_cast<std::size_t>(change)];
}

/// Runs on healthy sites alone, as many whole replicas as there are; `at_least` of them or waits.
[[nodiscard]] inline Replanner on_healthy_sites(std::int32_t tp,
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

[[nodiscard]] inline Replanner all_or_nothing(std::int32_t tp, std::int64_t job_sites) {
  return on_healthy_sites(tp, job_sites, job_sites, 1);
}

/// Every GPU of the job's sites that is up works, and counts for its part.
[[nodiscard]] inline Replanner on_what_is_left(std::int32_t tp, std::int64_t job_sites) {
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

/// One GPU that is the whole job, without costs.
[[nodiscard]] inline JobSpec one_gpu_job() {
  JobSpec job{.sites = {.cluster = {1, 1, 1}, .tp = 1, .num_job_sites = 1},
              .step_time = SimTime{1}};
  job.replan = all_or_nothing(1, 1);
  job.spares_needed = [](const SiteCensus& census) { return census.num_damaged(); };
  job.num_buckets = 1;
  return job;
}

/// A job with every kind of cost, all random.
[[nodiscard]] inline JobSpec random_job(tests::Dice& dice) {
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
[[nodiscard]] inline FaultTimeline random_faults(const ClusterShape& owned,
                                                 SimTime duration,
                                                 tests::Dice& dice) {
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

[[nodiscard]] inline SimTime random_duration(tests::Dice& dice) {
  return SimTime{dice.between(1'000, 500'000'000)};
}

}  // namespace runflat::sim
