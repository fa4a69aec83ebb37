#include "core/spare_sites.hpp"

#include "core/replan.hpp"
#include "tests/catch.hpp"
#include "tests/random_plan.hpp"

#include <algorithm>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::tests;

namespace {

/// A domain for every TP group, and some to spare at the end.
Plan job(const ParallelSizes& sizes, std::int64_t num_spares, const std::string& policy) {
  Dice dice(3);
  Plan plan;
  plan.policy = policy;
  const std::int64_t num_groups = sizes.num_ranks() / sizes.tp;
  plan.cluster = {.gpu = "h100",
                  .num_nodes = num_groups + num_spares,
                  .gpus_per_node = sizes.tp,
                  .domain_size = sizes.tp};
  plan.model = random_model(sizes.tp, 0, dice);
  plan.layout = ParallelLayout::uniform(sizes);
  plan.replicas.resize(static_cast<std::size_t>(sizes.dp), {.num_microbatches = 6});
  plan.training.global_batch_size = plan.global_batch_size();
  for (std::int64_t i = 0; i < num_spares; ++i) {
    plan.spare_domains.emplace_back(num_groups + i);
  }
  return plan;
}

std::vector<GpuId> group_of(const Plan& plan, std::int64_t dp, std::int64_t pp = 0) {
  return plan.layout.cell({.dp = DpRank(dp), .cp = CpRank(0), .pp = PpRank(pp)}).active();
}

std::vector<GpuId> gpus(const std::vector<std::int64_t>& numbers) {
  return {numbers.begin(), numbers.end()};
}

std::int64_t num_damaged(const Plan& plan, const Health& health) {
  const std::vector<Cell>& cells = plan.layout.cells();
  return std::count_if(
      cells.begin(), cells.end(), [&](const Cell& cell) { return !is_whole(cell, health); });
}

Health random_health(const Plan& plan, Dice& dice) {
  std::vector<GpuId> down;
  const std::int64_t rarity = dice.between(3, 20);
  for (std::int64_t gpu = 0; gpu < plan.cluster.num_gpus(); ++gpu) {
    if (dice.one_in(rarity)) {
      down.emplace_back(gpu);
    }
  }
  return Health(std::move(down));
}

std::int64_t num_whole_spares(const Plan& plan, const Health& health) {
  const std::vector<std::int64_t> num_down = health.num_down_by_domain(plan.cluster);
  return std::count_if(plan.spare_domains.begin(), plan.spare_domains.end(), [&](DomainId domain) {
    return num_down[domain.index()] == 0;
  });
}

}  // namespace

TEST_CASE("a damaged TP group moves to a spare domain and comes back", "[core][replan]") {
  const Plan whole = job({.tp = 2, .dp = 2}, 1, "ntp");
  const Health health({GpuId(3)});
  const Plan moved = replan_in_place(whole, health).value();
  CHECK(group_of(moved, 0) == gpus({0, 1}));
  CHECK(group_of(moved, 1) == gpus({4, 5}));
  CHECK(moved.replicas == whole.replicas);
  CHECK(moved.spare_domains.empty());
  CHECK(moved.reasons.back() == "Replica 1, stage 0 is on spare domain 2.");
  CHECK(replan_in_place(whole, Health()).value() == whole);
  // Without a whole spare domain it shrinks.
  const Plan shrunk = replan_in_place(whole, Health({GpuId(3), GpuId(5)})).value();
  CHECK(group_of(shrunk, 1) == gpus({2}));
}

TEST_CASE("spares make whole as many replicas as they can", "[core][replan]") {
  // Replica 0 has two damaged groups, replica 1 one, and there is one spare domain.
  const ParallelSizes sizes{.tp = 2, .dp = 2, .pp = 2};
  Plan whole = job(sizes, 1, "dp_drop");
  const Health health(
      {group_of(whole, 0, 0)[0], group_of(whole, 0, 1)[0], group_of(whole, 1, 1)[1]});
  const Plan dropped = replan_in_place(whole, health).value();
  CHECK(dropped.layout.sizes().dp == 1);
  CHECK(group_of(dropped, 0, 0) == group_of(whole, 1, 0));
  CHECK(group_of(dropped, 0, 1) == gpus({8, 9}));
  CHECK(dropped.global_batch_size() == whole.global_batch_size());

  whole.policy = "spare_domain";
  const auto none = replan_in_place(whole, health);
  REQUIRE_FALSE(none);
  CHECK(none.error().reason.starts_with("2 of 4 TP groups have lost GPUs, and no spare domain"));
}

TEST_CASE("spares that do not make a replica whole lift its smallest group", "[core][replan]") {
  const ParallelSizes sizes{.tp = 4, .dp = 1, .pp = 2};
  const Plan whole = job(sizes, 1, "ntp");
  const std::vector<GpuId> first = group_of(whole, 0, 0);
  const std::vector<GpuId> second = group_of(whole, 0, 1);
  const Plan uneven = replan_in_place(whole, Health({first[0], first[1], second[3]})).value();
  CHECK(group_of(uneven, 0, 0) == gpus({8, 9, 10, 11}));
  CHECK(group_of(uneven, 0, 1).size() == 3);
  // Of two that have lost as much neither moves: the replica would be no faster.
  const Plan even = replan_in_place(whole, Health({first[0], second[3]})).value();
  CHECK(group_of(even, 0, 0).size() == 3);
  CHECK(group_of(even, 0, 1).size() == 3);
  CHECK(even.spare_domains == whole.spare_domains);
}

TEST_CASE("a group stays on the spare GPUs that it has", "[core][replan]") {
  const Plan whole = job({.tp = 2, .dp = 3}, 2, "ntp");
  const Plan first = replan_in_place(whole, Health({GpuId(4)})).value();
  CHECK(group_of(first, 2) == gpus({6, 7}));
  const Plan second = replan_in_place(whole, first, Health({GpuId(1), GpuId(4)})).value();
  CHECK(group_of(second, 0) == gpus({8, 9}));
  CHECK(group_of(second, 2) == gpus({6, 7}));
  const Plan third = replan_in_place(whole, second, Health({GpuId(1), GpuId(4), GpuId(6)})).value();
  CHECK(group_of(third, 0) == gpus({8, 9}));
  CHECK(group_of(third, 2) == gpus({5}));
  CHECK(replan_in_place(whole, third, Health()).value() == whole);
}

TEST_CASE("laws of spares and policies", "[core][replan]") {
  Dice dice(21);
  std::int64_t num_planned = 0;
  for (int trial = 0; trial < 400; ++trial) {
    const ParallelSizes sizes{
        .tp = dice.between(1, 4), .dp = dice.between(1, 4), .pp = dice.between(1, 3)};
    const InPlacePolicy policy = kInPlacePolicies[dice.index(kInPlacePolicies.size())];
    const Plan whole = job(sizes, dice.between(0, 4), std::string(to_string(policy)));
    const Health health = random_health(whole, dice);
    CAPTURE(trial, whole.policy, health.down().size());
    const std::int64_t damaged = num_damaged(whole, health);
    const auto plan = replan_in_place(whole, health);
    const bool suffice = damaged <= num_whole_spares(whole, health);
    if (policy == InPlacePolicy::spare_domain) {
      CHECK(plan.has_value() == suffice);
    }
    if (!plan) {
      CHECK_FALSE(suffice);
      continue;
    }
    ++num_planned;
    CHECK(plan->global_batch_size() == whole.global_batch_size());
    CHECK(plan->failed == health.down());
    // Every rank on a GPU that is up, groups within a domain, no rank on a spare domain.
    const Value value = to_value(*plan);
    CHECK(read_plan(Reader(value, "plan")) == *plan);
    for (const DomainId domain : plan->spare_domains) {
      CHECK(health.num_down_by_domain(whole.cluster)[domain.index()] == 0);
    }
    if (suffice) {
      CHECK(plan->layout.num_ranks() == whole.layout.num_ranks());
      CHECK(plan->replicas == whole.replicas);
    }
    if (policy == InPlacePolicy::dp_drop) {
      CHECK(plan->layout.is_uniform());
    }
    if (damaged == 0) {
      CHECK(plan->layout == whole.layout);
    }
    // Groups that have lost nothing stay, in replicas that run.
    std::int64_t num_elsewhere = 0;
    for (const Cell& cell : plan->layout.cells()) {
      const DomainId domain = plan->cluster.domain_of(cell.slots.front());
      num_elsewhere += std::count(whole.spare_domains.begin(), whole.spare_domains.end(), domain);
    }
    CHECK(num_elsewhere <= damaged);
    // What a plan was made for needs no other, and history changes nothing but places on spares.
    CHECK(replan_in_place(whole, *plan, health).value() == *plan);
    const Health next = random_health(whole, dice);
    const auto fresh = replan_in_place(whole, next);
    const auto after = replan_in_place(whole, *plan, next);
    REQUIRE(fresh.has_value() == after.has_value());
    if (fresh) {
      CHECK(after->layout.num_ranks() == fresh->layout.num_ranks());
      CHECK(after->replicas == fresh->replicas);
      CHECK(read_plan(Reader(to_value(*after), "plan")) == *after);
    }
  }
  CHECK(num_planned > 200);
}

TEST_CASE("a group that does not run on all its slots moves as it is", "[core][replan]") {
  const CellId second{.dp = DpRank(1), .cp = CpRank(0), .pp = PpRank(0)};
  Plan whole = job({.tp = 3, .dp = 2}, 1, "ntp");
  whole.layout = ParallelLayout::nonuniform(whole.layout.sizes(), {{second, {1}}});
  // Two of the three spare GPUs are up, which is all it needs.
  const Plan moved = replan_in_place(whole, Health({GpuId(5), GpuId(6)})).value();
  CHECK(group_of(moved, 1) == gpus({7, 8}));
  CHECK(moved.layout.cell(second).inactive == std::vector<std::int64_t>{1});
}
