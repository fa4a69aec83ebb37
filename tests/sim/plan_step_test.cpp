#include "sim/plan_step.hpp"

#include "tests/catch.hpp"
#include "tests/sim/sim_models.hpp"

#include <vector>

namespace runflat::sim {
namespace {

/// TP8 x PP2 x DP4 on 8 nodes of 8 H100, some slots down.
Plan plan_with(const std::vector<InactiveSlots>& inactive) {
  Plan plan;
  plan.policy = "ntp";
  plan.cluster.gpu = "h100";
  plan.cluster.num_nodes = 8;
  plan.model = gpt_model(48, 8192, 64);
  ParallelSizes sizes;
  sizes.tp = 8;
  sizes.pp = 2;
  sizes.dp = 4;
  plan.layout = ParallelLayout::nonuniform(sizes, inactive);
  plan.training.micro_batch_size = 1;
  plan.training.global_batch_size = 64;
  plan.replicas.assign(4, {.num_microbatches = 16});
  return plan;
}

TEST_CASE("a whole plan has one class of replicas, and the price of its query",
          "[sim][plan_step]") {
  const Plan plan = plan_with({});
  const auto step = price_plan(plan, "nemo-25.02");
  REQUIRE(step);
  REQUIRE(step->replicas.size() == 1);
  CHECK(step->replicas[0].num_replicas == 4);
  CHECK(step->num_gpus == 64);
  const auto cost = step_cost(
      plan.model, replica_query(plan, DpRank(0)), load_hardware(plan.cluster, "nemo-25.02"));
  REQUIRE(cost);
  CHECK(step->step_time == cost->step_time);
  CHECK(step->mfu == Approx(cost->mfu));
  CHECK(step->simulated_time / step->step_time == Approx(1.0).epsilon(0.02));
}

TEST_CASE("a damaged plan waits for its slowest replica, which a smaller batch speeds up",
          "[sim][plan_step]") {
  Plan plan = plan_with({{{DpRank(1), CpRank(0), PpRank(1)}, {3}}});
  const auto slow = price_plan(plan);
  REQUIRE(slow);
  REQUIRE(slow->replicas.size() == 2);
  const ReplicaClass& healthy = slow->replicas[0];
  const ReplicaClass& reduced = slow->replicas[1];
  CHECK(healthy.num_replicas == 3);
  CHECK(reduced.query.tp == 7);
  CHECK(healthy.query.tp_sync == 7);
  CHECK(healthy.cost.breakdown.reshard > Seconds{});
  CHECK(slow->step_time == reduced.cost.step_time);
  CHECK(slow->num_gpus == 63);
  plan.replicas[1].num_microbatches = 13;
  const auto balanced = price_plan(plan);
  REQUIRE(balanced);
  CHECK(balanced->step_time < slow->step_time);
  CHECK(balanced->sequences == 61);
}

TEST_CASE("layers that a replica computes again cost time and free memory", "[sim][plan_step]") {
  Plan plan = plan_with({});
  const auto kept = price_plan(plan);
  plan.replicas.assign(4, {.num_microbatches = 16, .num_recompute_layers = 6});
  const auto again = price_plan(plan);
  REQUIRE(kept);
  REQUIRE(again);
  CHECK(again->step_time > kept->step_time);
  CHECK(again->replicas[0].cost.memory.peak() < kept->replicas[0].cost.memory.peak());
}

}  // namespace
}  // namespace runflat::sim
