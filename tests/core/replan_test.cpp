#include "core/replan.hpp"

#include "tests/catch.hpp"
#include "tests/random_plan.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace runflat;
using namespace runflat::tests;

namespace {

/// A job on one domain for every replica, with a model that TP divides into whole kv-groups.
Plan job(const ParallelSizes& sizes, std::int64_t num_microbatches) {
  Dice dice(3);
  Plan plan;
  plan.policy = "ntp";
  const std::int64_t per_replica = sizes.num_ranks() / sizes.dp;
  plan.cluster = {.gpu = "h100",
                  .num_nodes = sizes.dp,
                  .gpus_per_node = per_replica,
                  .domain_size = per_replica};
  plan.model = random_model(sizes.tp, 0, dice);
  plan.layout = ParallelLayout::uniform(sizes);
  plan.training.global_batch_size = num_microbatches * sizes.dp;
  plan.replicas.resize(static_cast<std::size_t>(sizes.dp), {.num_microbatches = num_microbatches});
  return plan;
}

Health down(const std::vector<std::int64_t>& gpus) {
  std::vector<GpuId> ids;
  for (const std::int64_t gpu : gpus) {
    ids.emplace_back(gpu);
  }
  return Health(std::move(ids));
}

std::vector<std::int64_t> shares(const Plan& plan) {
  std::vector<std::int64_t> shares;
  for (const ReplicaShare& share : plan.replicas) {
    shares.push_back(share.num_microbatches);
  }
  return shares;
}

}  // namespace

TEST_CASE("a damaged TP group shrinks and microbatches follow the speed", "[core][replan]") {
  // TP4 x DP2 of 8 microbatches each. GPU 5 dies: replica 1 has 3 of its 4 GPUs. 16 microbatches
  // over speeds 1 and 0.75: 9 and 7, time max(9, 7 / 0.75) = 9.33; 10 and 6 would take 10.
  const Plan whole = job({.tp = 4, .dp = 2}, 8);
  const auto plan = replan_in_place(whole, down({5}));
  REQUIRE(plan);
  CHECK(plan->layout.num_ranks() == 7);
  CHECK(plan->layout.cell({.dp = DpRank(1), .cp = CpRank(0), .pp = PpRank(0)}).active() ==
        std::vector<GpuId>{GpuId(4), GpuId(6), GpuId(7)});
  CHECK(shares(*plan) == std::vector<std::int64_t>{9, 7});
  CHECK(plan->failed == std::vector<GpuId>{GpuId(5)});
  CHECK(plan->global_batch_size() == whole.global_batch_size());
}

TEST_CASE("a replica without a GPU in some stage is left out and comes back", "[core][replan]") {
  const Plan whole = job({.tp = 2, .dp = 2, .pp = 2}, 4);
  const GpuId a = whole.layout.cells()[3].slots[0];  // stage 1 of replica 1
  const GpuId b = whole.layout.cells()[3].slots[1];
  const auto plan = replan_in_place(whole, Health({a, b}));
  REQUIRE(plan);
  CHECK(plan->layout.sizes().dp == 1);
  CHECK(shares(*plan) == std::vector<std::int64_t>{8});
  const auto back = replan_in_place(whole, Health());
  REQUIRE(back);
  CHECK(*back == whole);
}

TEST_CASE("an interleaved pipeline gets whole rounds", "[core][replan]") {
  const Plan whole = job({.tp = 2, .dp = 2, .pp = 2, .vpp = 2}, 6);
  const auto plan = replan_in_place(whole, down({0}));
  REQUIRE(plan);
  for (const std::int64_t share : shares(*plan)) {
    CHECK(share % 2 == 0);
  }
}

TEST_CASE("a replica that was never whole has the share of its degree", "[core][replan]") {
  // TP4 and TP3 become TP3 and TP3: equal speeds, equal shares.
  Plan whole = job({.tp = 4, .dp = 2}, 6);
  const CellId second{.dp = DpRank(1), .cp = CpRank(0), .pp = PpRank(0)};
  whole.layout = ParallelLayout::nonuniform(whole.layout.sizes(), {{second, {0}}});
  whole.replicas = {{.num_microbatches = 7}, {.num_microbatches = 5}};
  CHECK(shares(replan_in_place(whole, Health()).value()) == std::vector<std::int64_t>{7, 5});
  CHECK(shares(replan_in_place(whole, down({1})).value()) == std::vector<std::int64_t>{6, 6});
}

TEST_CASE("nothing left is infeasible", "[core][replan]") {
  const Plan whole = job({.tp = 1, .dp = 1, .pp = 2}, 4);
  const auto plan = replan_in_place(whole, down({1}));
  REQUIRE_FALSE(plan);
  CHECK(plan.error().reason.find("1 of 2 TP groups have lost GPUs") != std::string::npos);
}

TEST_CASE("laws of replanning in place", "[core][replan]") {
  Dice dice(11);
  for (int trial = 0; trial < 300; ++trial) {
    const ParallelSizes sizes{
        .tp = dice.between(1, 5), .dp = dice.between(1, 4), .pp = dice.between(1, 3)};
    const Plan whole = job(sizes, dice.between(1, 9));
    std::vector<std::int64_t> lost;
    for (std::int64_t gpu = 0; gpu < whole.cluster.num_gpus(); ++gpu) {
      if (dice.one_in(5)) {
        lost.push_back(gpu);
      }
    }
    const Health health = down(lost);
    const auto plan = replan_in_place(whole, health);
    if (!plan) {
      // Only when every replica has lost a whole TP group.
      for (std::int64_t dp = 0; dp < sizes.dp; ++dp) {
        bool has_empty = false;
        for (std::int64_t pp = 0; pp < sizes.pp; ++pp) {
          const auto active =
              whole.layout.cell({.dp = DpRank(dp), .cp = CpRank(0), .pp = PpRank(pp)}).active();
          has_empty = has_empty || std::all_of(active.begin(), active.end(), [&](GpuId gpu) {
                        return health.is_down(gpu);
                      });
        }
        CHECK(has_empty);
      }
      continue;
    }
    CHECK(plan->global_batch_size() == whole.global_batch_size());
    for (std::int64_t r = 0; r < plan->layout.num_ranks(); ++r) {
      CHECK_FALSE(health.is_down(plan->layout.gpu_of(Rank(r))));
    }
    for (const std::int64_t share : shares(*plan)) {
      CHECK(share > 0);
    }
    // What the plan says is a plan: it reads back.
    const Value value = to_value(*plan);
    CHECK(read_plan(Reader(value, "plan")) == *plan);
  }
}

TEST_CASE("a step takes as long as the slowest replica", "[core][replan]") {
  const Plan whole = job({.tp = 4, .dp = 2}, 6);
  const double even = relative_step_time(whole);
  CHECK(even == static_cast<double>(whole.replicas.front().num_microbatches));
  const Plan damaged = replan_in_place(whole, Health({GpuId(5)})).value();
  CHECK(relative_step_time(damaged) > even);
  CHECK(relative_step_time(damaged) < 2.0 * even);
}

TEST_CASE("GPUs rejoin where the steps left win the pause back", "[core][replan]") {
  const Plan whole = job({.tp = 4, .dp = 2}, 6);
  const Plan damaged = replan_in_place(whole, Health({GpuId(5)})).value();
  const double saved = 1.0 - relative_step_time(whole) / relative_step_time(damaged);
  const Seconds step(2.0);
  const auto steps_left = static_cast<std::int64_t>(std::ceil(30.0 / (2.0 * saved)));
  CHECK(rejoin_pays(damaged, whole, step, steps_left + 1, Seconds(30.0)));
  CHECK_FALSE(rejoin_pays(damaged, whole, step, steps_left - 1, Seconds(30.0)));
  CHECK_FALSE(rejoin_pays(whole, whole, step, 1'000'000, Seconds(1e-9)));
}
