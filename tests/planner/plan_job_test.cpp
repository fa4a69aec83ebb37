#include "planner/plan_job.hpp"

#include "tests/catch.hpp"
#include "tests/planner/shipped_scenario.hpp"

#include <string>

namespace runflat::planner {
namespace {

bool says(const Plan& plan, const std::string& words) {
  for (const std::string& reason : plan.reasons) {
    if (reason.find(words) != std::string::npos) {
      return true;
    }
  }
  return false;
}

TEST_CASE("a plan without failures is Megatron's layout with the whole batch", "[planner][plan]") {
  const Scenario scenario = shipped_scenario("small");
  for (const PolicyKind policy : {PolicyKind::restart, PolicyKind::dp_drop, PolicyKind::ntp}) {
    const auto plan = plan_job(scenario, policy, Health());
    REQUIRE(plan);
    CHECK(plan->layout == ParallelLayout::uniform(scenario.layout));
    CHECK(plan->global_batch_size() == scenario.training.global_batch_size);
    CHECK_FALSE(says(*plan, "Getting there"));
  }
}

TEST_CASE("a failed GPU costs NTP one rank and no replica", "[planner][plan]") {
  const Scenario scenario = shipped_scenario("small");
  const auto plan = plan_job(scenario, PolicyKind::ntp, Health({GpuId(3)}));
  REQUIRE(plan);
  CHECK(plan->layout.sizes().dp == scenario.layout.dp);
  CHECK_FALSE(plan->layout.rank_of(GpuId(3)));
  // One replica of pp stages at TP - 1: the failed GPU, and one idle for parity in each other
  // stage.
  CHECK(plan->layout.num_ranks() == scenario.layout.num_ranks() - scenario.layout.pp);
  CHECK(plan->global_batch_size() < scenario.training.global_batch_size);
  CHECK(says(*plan, "Getting there"));
}

TEST_CASE("a policy that cannot run says how many sites it lacks and what would help",
          "[planner][plan]") {
  const Scenario scenario = shipped_scenario("small");
  std::vector<GpuId> down;  // three of the ten domains, with two in reserve
  for (std::int64_t domain = 0; domain < 3; ++domain) {
    down.push_back(scenario.cluster.first_gpu(DomainId(domain)));
  }
  const auto plan = plan_job(scenario, PolicyKind::restart, Health(down));
  REQUIRE_FALSE(plan);
  CHECK(plan.error().reason.find("needs 8 TP groups, 7 of 10") != std::string::npos);
  CHECK(plan.error().reason.find("policies.restart.spare_domains") != std::string::npos);
}

}  // namespace
}  // namespace runflat::planner
