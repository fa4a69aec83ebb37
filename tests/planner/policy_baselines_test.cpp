#include "planner/pipeline_rates.hpp"
#include "planner/policy.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

using namespace runflat;
using namespace runflat::planner;
using sim::Operation;
using sim::SiteCensus;

namespace {

/// 1F1B on fused stages: m rounds of the slowest stage and a bubble of the others.
Seconds step_of(const ReplicaQuery& replica,
                std::int64_t num_layers,
                std::int64_t stages,
                std::int64_t chunks) {
  const std::int64_t length = replica.num_stages > 0 ? replica.num_stages : stages;
  const std::int64_t interleaved = replica.num_virtual > 0 ? replica.num_virtual : chunks;
  const std::int64_t parts = length * interleaved;
  const auto layers = static_cast<double>((num_layers + parts - 1) / parts * interleaved);
  const double bubble = static_cast<double>(length - 1) / static_cast<double>(interleaved);
  return Seconds{layers * (static_cast<double>(replica.num_microbatches) + bubble)};
}

PolicyRates job_of(std::int64_t replicas, PipelineRates pipeline) {
  return {.tp = 8,
          .sites_per_replica = pipeline.num_stages,
          .num_replicas = replicas,
          .pipeline = std::move(pipeline)};
}

SiteCensus with_lost_sites(const PolicyRates& rates, std::int64_t lost) {
  SiteCensus census{.num_healthy = rates.num_job_sites() - lost};
  census.num_lost.assign(static_cast<std::size_t>(lost), 1);
  return census;
}

}  // namespace

TEST_CASE("rerouted microbatches are free until the bubbles are full", "[planner][policy]") {
  // ReCycle's formula: f groups of each stage lost, D - f peers take m f / (D - f) microbatches
  // each into a bubble of b.
  for (const std::int64_t replicas : {2, 4, 8, 100}) {
    for (const std::int64_t batch : {4, 8, 16, 64}) {
      const PolicyRates rates =
          job_of(replicas, {.num_stages = 8, .num_microbatches = batch, .bubble = 7.0});
      for (std::int64_t lost = 0; lost < rates.num_job_sites(); ++lost) {
        CAPTURE(replicas, batch, lost);
        const SiteCensus census = with_lost_sites(rates, lost);
        const Operation operation = plan_operation(PolicyKind::recycle, rates, census);
        const auto failed = static_cast<double>((lost + 7) / 8);
        const double more = std::ceil(static_cast<double>(batch) * failed /
                                      (static_cast<double>(replicas) - failed));
        if (failed >= static_cast<double>(replicas)) {
          REQUIRE(operation.throughput == 0.0);
          continue;
        }
        const double healthy = static_cast<double>(batch) + 7.0;
        REQUIRE(operation.throughput ==
                Approx(std::min(1.0, healthy / (static_cast<double>(batch) + more))));
        REQUIRE(operation.num_full_sites == census.num_healthy);
        const std::int64_t needed = spares_needed(PolicyKind::recycle, rates, census);
        REQUIRE((needed == 0) == (operation.throughput == 1.0));
      }
    }
  }
}

TEST_CASE("a pipeline without bubbles loses what its replicas lose", "[planner][policy]") {
  const PolicyRates rates = job_of(10, {.num_stages = 4, .num_microbatches = 9, .bubble = 0.0});
  CHECK(plan_operation(PolicyKind::recycle, rates, with_lost_sites(rates, 4)).throughput ==
        Approx(0.9));
}

TEST_CASE("templates use the healthy sites as well as any choice of pipelines",
          "[planner][policy]") {
  tests::Dice dice(71);
  for (int trial = 0; trial < 300; ++trial) {
    PipelineRates pipeline{.num_stages = dice.between(1, 5)};
    double share = 0.0;
    for (std::int64_t length = 0; length < pipeline.num_stages; ++length) {
      pipeline.shares.push_back(share);
      share = std::min(1.0, share + 0.1 * static_cast<double>(dice.between(0, 4)));
    }
    const PolicyRates rates = job_of(dice.between(1, 5), pipeline);
    const std::int64_t lost = dice.between(0, rates.num_job_sites());
    const SiteCensus census = with_lost_sites(rates, lost);
    const Operation operation = plan_operation(PolicyKind::oobleck, rates, census);

    // Pipelines of at most one stage more than the others, by brute force.
    double best = 0.0;
    for (std::int64_t num = 1; num <= rates.num_replicas; ++num) {
      for (std::int64_t length = 0; length < pipeline.num_stages; ++length) {
        for (std::int64_t longer = 0; longer <= num; ++longer) {
          if (num * length + longer <= census.num_healthy) {
            best = std::max(best,
                            static_cast<double>(num - longer) * pipeline.share_of(length) +
                                static_cast<double>(longer) * pipeline.share_of(length + 1));
          }
        }
      }
    }
    CAPTURE(pipeline.num_stages, rates.num_replicas, lost);
    REQUIRE(operation.throughput ==
            Approx(best / static_cast<double>(rates.num_replicas)).margin(1e-12));
    REQUIRE(operation.num_full_sites <= census.num_healthy);
    REQUIRE(operation.throughput >=
            plan_operation(PolicyKind::dp_drop, rates, census).throughput - 1e-12);
  }
}

TEST_CASE("a shorter pipeline gets the batch that its fused stages finish in time",
          "[planner][policy]") {
  // 32 layers on 8 stages, 16 microbatches: (16 + 7) * 4 = 92 layer times. On 7 stages a stage has
  // 5 layers: m + 6 <= 92 / 5, so m = 12; on 4 stages 8 layers: m + 3 <= 11.5, m = 8.
  const HealthyJob job{.tp = 8, .sites_per_replica = 8, .num_replicas = 4, .num_microbatches = 16};
  const auto shares = [&](std::int64_t chunks) {
    return pipeline_rates(job,
                          {.num_stages = 8, .num_virtual = chunks},
                          [=](const auto& replica) {
                            return Expected<ReplicaStep, Infeasible>(
                                ReplicaStep(step_of(replica, 32, 8, chunks)));
                          })
        .shares;
  };
  const std::vector<double> plain = shares(1);
  CHECK(plain[7] == 12.0 / 16.0);
  CHECK(plain[4] == 8.0 / 16.0);
  CHECK(plain[0] == 0.0);
  CHECK(std::is_sorted(plain.begin(), plain.end()));
  const std::vector<double> interleaved = shares(4);
  CHECK(std::is_sorted(interleaved.begin(), interleaved.end()));

  // Where no shorter pipeline fits, templates are dropped replicas.
  const PipelineRates none =
      pipeline_rates(job, {.num_stages = 8}, [](const ReplicaQuery& replica) {
        return replica.num_stages > 0
                   ? Expected<ReplicaStep, Infeasible>(Infeasible{"no memory"})
                   : Expected<ReplicaStep, Infeasible>(ReplicaStep(Seconds{1.0}));
      });
  const PolicyRates rates = job_of(4, none);
  for (std::int64_t lost = 0; lost <= 32; ++lost) {
    const SiteCensus census = with_lost_sites(rates, lost);
    CHECK(plan_operation(PolicyKind::oobleck, rates, census).throughput ==
          plan_operation(PolicyKind::dp_drop, rates, census).throughput);
  }
}

TEST_CASE("adaptive follows the policy that promises the most work", "[planner][policy]") {
  // Four replicas of a site of 8 and a spare. An active GPU is hit every 32,000 s, four sites every
  // 1000 s. Swapping costs 300 s and keeps all, exp(-0.3) = 0.741; rerouting costs 10 s.
  PolicyRates rates = job_of(4, {});
  const auto at_cost = [plain = rates](PolicyKind policy, double seconds) {
    Alternative alternative{.policy = policy, .rates = plain};
    alternative.rates.interruptions = {.per_gpu_second = 1.0 / 32'000.0, .cost = Seconds{seconds}};
    return alternative;
  };
  rates.alternatives = {at_cost(PolicyKind::spare_domain, 300.0),
                        at_cost(PolicyKind::recycle, 10.0),
                        at_cost(PolicyKind::restart, 310.0)};
  const auto variant = [&](std::int64_t healthy, std::int64_t damaged) {
    SiteCensus census{.num_healthy = healthy};
    census.num_lost.assign(static_cast<std::size_t>(damaged), 1);
    return plan_operation(PolicyKind::adaptive, rates, census).variant;
  };
  CHECK(variant(4, 1) == 1);  // the spare replaces the lost group under recycle as well: 0.990
  CHECK(variant(3, 1) == 1);  // only recycle runs
  rates.alternatives[1] = at_cost(PolicyKind::recycle, 400.0);
  CHECK(variant(4, 1) == 0);  // 0.741, 0.670 and 0.733
  rates.alternatives[2] = at_cost(PolicyKind::restart, 290.0);
  CHECK(variant(4, 1) == 2);  // 0.748

  SiteCensus gone{.num_healthy = 0, .num_lost = {8, 8, 8, 8, 8}};
  CHECK(plan_operation(PolicyKind::adaptive, rates, gone).throughput == 0.0);
}
