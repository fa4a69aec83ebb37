#include "planner/verify.hpp"

#include "planner/plan_job.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"
#include "tests/planner/shipped_scenario.hpp"
#include "tests/random_plan.hpp"

#include <algorithm>
#include <limits>
#include <set>

using namespace runflat;
using namespace runflat::planner;

namespace {

std::set<PlanRule> broken_rules(const Plan& plan) {
  std::set<PlanRule> rules;
  for (const Violation& violation : verify_plan(plan)) {
    rules.insert(violation.rule);
  }
  return rules;
}

std::string first_of(const Plan& plan, PlanRule rule) {
  for (const Violation& violation : verify_plan(plan)) {
    if (violation.rule == rule) {
      return violation.what;
    }
  }
  return "no violation";
}

/// Llama of 8 kv-groups on 64 GPUs: TP8 PP2 DP4.
Plan sound_plan() {
  Plan plan;
  plan.model = {.name = "small",
                .family = ModelFamily::llama,
                .num_layers = 8,
                .hidden_size = 64,
                .ffn_hidden_size = 96,
                .num_attention_heads = 16,
                .num_query_groups = 8,
                .kv_channels = 4,
                .seq_length = 8,
                .padded_vocab_size = 128,
                .gated_linear_unit = true,
                .rms_norm = true};
  plan.cluster = {.gpu = "h100", .num_nodes = 9};
  plan.layout = ParallelLayout::uniform({.tp = 8, .dp = 4, .pp = 2, .etp = 8});
  plan.replicas.assign(4, {.num_microbatches = 4});
  plan.spare_domains = {DomainId(8)};
  return plan;
}

Plan with_cells(Plan plan, std::vector<Cell> cells) {
  plan.layout = ParallelLayout::from_cells(plan.layout.sizes(), std::move(cells));
  return plan;
}

}  // namespace

TEST_CASE("plans with failed and idle GPUs anywhere are sound", "[planner][verify]") {
  tests::Dice dice(1);
  for (int round = 0; round < 200; ++round) {
    Plan plan = tests::random_plan(dice);
    plan.model.untie_embeddings_and_output_weights = true;
    for (const Violation& violation : verify_plan(plan)) {
      CAPTURE(round, name_of(violation.rule));
      FAIL(violation.what);
    }
  }
}

TEST_CASE("what the planner makes is sound", "[planner][verify]") {
  tests::Dice dice(2);
  int num_plans = 0;
  for (const char* const name : {"small", "trace-3k-h100"}) {
    const Scenario scenario = shipped_scenario(name);
    for (int round = 0; round < 6; ++round) {
      std::vector<GpuId> down;
      for (std::int64_t i = dice.between(0, scenario.cluster.num_gpus() / 40); i > 0; --i) {
        down.emplace_back(dice.between(0, scenario.cluster.num_gpus() - 1));
      }
      for (const PolicyKind policy : kAllPolicies) {
        const auto plan = plan_job(scenario, policy, Health(down));
        if (!plan) {
          continue;
        }
        ++num_plans;
        for (const Violation& violation : verify_plan(*plan)) {
          CAPTURE(name, round, to_string(policy), name_of(violation.rule));
          FAIL(violation.what);
        }
      }
    }
  }
  CHECK(num_plans > 30);
}

TEST_CASE("a degree that a parameter cannot be divided over is not planned", "[planner][verify]") {
  Scenario scenario = shipped_scenario("small");
  scenario.model.num_query_groups = 4;  // at TP8: two ranks a group; TP7 to TP5 cannot
  const auto plan = plan_job(scenario, PolicyKind::ntp, Health({GpuId(3)}));
  REQUIRE(plan);
  CHECK(plan->layout.sync_degree(PpRank(0)) != 7);
  CHECK(verify_plan(*plan).empty());
}

TEST_CASE("each way to break a plan is named", "[planner][verify]") {
  const Plan sound = sound_plan();
  REQUIRE(verify_plan(sound).empty());

  SECTION("a failed GPU plays a rank") {
    Plan plan = sound;
    plan.failed = {GpuId(9)};
    CHECK(broken_rules(plan) == std::set{PlanRule::ranks});
    CHECK(first_of(plan, PlanRule::ranks) ==
          "cell (dp 1, cp 0, pp 0) runs on gpu9, which has failed");
  }
  SECTION("a GPU that the cluster does not have") {
    Plan plan = sound;
    plan.cluster.num_nodes = 7;
    CHECK(first_of(plan, PlanRule::ranks) ==
          "cell (dp 3, cp 0, pp 1) runs on gpu56, and the cluster has 56 GPUs");
  }
  SECTION("a rank in a spare domain") {
    Plan plan = sound;
    plan.spare_domains = {DomainId(2)};
    CHECK(broken_rules(plan) == std::set{PlanRule::ranks});
  }
  SECTION("a TP group across domains") {
    std::vector<Cell> cells = sound.layout.cells();
    std::swap(cells[0].slots[3], cells[1].slots[3]);
    const Plan plan = with_cells(sound, cells);
    CHECK(broken_rules(plan) == std::set{PlanRule::domains});
    CHECK(first_of(plan, PlanRule::domains) ==
          "cell (dp 0, cp 0, pp 0) runs on gpu0 and gpu11 of different NVLink domains");
  }
  SECTION("shares that are not positive, or not one a replica") {
    for (const ReplicaShare& share :
         {ReplicaShare{.num_microbatches = 0},
          ReplicaShare{.num_microbatches = 4, .power = 0.0},
          ReplicaShare{.num_microbatches = 4, .power = std::numeric_limits<double>::quiet_NaN()},
          ReplicaShare{.num_microbatches = 4, .num_recompute_layers = 9}}) {
      Plan plan = sound;
      plan.replicas[2] = share;
      CHECK(broken_rules(plan) == std::set{PlanRule::shares});
    }
    Plan plan = sound;
    plan.replicas.pop_back();
    CHECK(broken_rules(plan) == std::set{PlanRule::shares});
  }
  SECTION("kv-groups that neither divide nor replicate") {
    std::vector<Cell> cells = sound.layout.cells();
    cells[0].inactive = {5};
    Plan plan = with_cells(sound, cells);
    CHECK(verify_plan(plan).empty());
    plan.model.num_query_groups = 4;  // on 7 ranks
    CHECK(broken_rules(plan) == std::set{PlanRule::units});
    CHECK(first_of(plan, PlanRule::units)
              .rfind("self_attention.linear_qkv.weight of stage 0: 4 units cannot be replicated "
                     "evenly over 7 ranks",
                     0) == 0);
  }
  SECTION("experts that do not divide, or would be lost with a rank") {
    Plan plan = sound;
    ParallelSizes sizes = plan.layout.sizes();
    sizes.ep = 4;
    plan.model.family = ModelFamily::moe;
    plan.model.moe_ffn_hidden_size = 8;
    plan.model.num_experts = 6;
    plan.layout = ParallelLayout::uniform(sizes);
    CHECK(first_of(plan, PlanRule::units) == "6 experts cannot be divided over ep 4");
    plan.model.num_experts = 8;
    CHECK(verify_plan(plan).empty());
    std::vector<Cell> cells = plan.layout.cells();
    cells[0].inactive = {5};
    CHECK(verify_plan(with_cells(plan, cells)).empty());
    sizes.etp = 1;
    plan.layout = ParallelLayout::uniform(sizes);
    CHECK(verify_plan(plan).empty());
    plan = with_cells(plan, cells);
    CHECK(broken_rules(plan) == std::set{PlanRule::units});
  }
  SECTION("a tied embedding that the two ends divide differently") {
    std::vector<Cell> cells = sound.layout.cells();
    cells[0].inactive = {5};
    Plan plan = with_cells(sound, cells);
    plan.model.untie_embeddings_and_output_weights = false;
    CHECK(broken_rules(plan) == std::set{PlanRule::units});
    cells[4].inactive = {0};  // the same replica's last stage
    CHECK(verify_plan(with_cells(plan, cells)).empty());
  }
  SECTION("a number of microbatches that interleaving cannot schedule") {
    Plan plan = sound;
    ParallelSizes sizes = plan.layout.sizes();
    sizes.vpp = 2;
    plan.layout = ParallelLayout::uniform(sizes);
    CHECK(verify_plan(plan).empty());
    plan.replicas[1].num_microbatches = 3;
    CHECK(broken_rules(plan) == std::set{PlanRule::schedules});
  }
}

TEST_CASE("a plan that is wrong everywhere is reported in a few lines", "[planner][verify]") {
  Plan plan = sound_plan();
  for (std::int64_t gpu = 0; gpu < 64; ++gpu) {
    plan.failed.emplace_back(gpu);
  }
  CHECK(verify_plan(plan).size() == 5);
}
