#include "exec/recovery/state_transfer.hpp"

#include "core/replan.hpp"
#include "exec/communication/loopback_communicator.hpp"
#include "exec/device/host_device.hpp"
#include "exec/training/stage_place.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"
#include "tests/exec/recovery_jobs.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <numeric>

using namespace runflat;
using namespace runflat::exec;
using namespace runflat::tests;

namespace {

/// Another number for every element of every parameter, and for master and moments.
float expected(const std::string& param, std::int64_t element, int which) {
  return static_cast<float>(stream_of(param) % 1000) + static_cast<float>(element) * 0.125F +
         static_cast<float>(which) * 0.5F;
}

StageStates make_states(Device& device, const Plan& plan, const TrainerConfig& config, Rank rank) {
  StageStates states;
  for (std::int64_t vp_stage = 0; vp_stage < plan.layout.sizes().vpp; ++vp_stage) {
    states.push_back(
        std::make_unique<StageState>(device, stage_place(plan, config, rank, vp_stage)));
  }
  return states;
}

/// Calls `visit` with each number of the optimizer state of these ranges and what it should be.
template <typename Visit>
void for_each_number(StageStates& states, const std::vector<HeldState>& held, Visit visit) {
  for (const HeldState& state : held) {
    const Bucket& bucket = states[state.place.vp_stage]->buckets()[state.place.bucket];
    const OptimizerSlice& slice = state.place.is_copy ? *bucket.buddy : bucket.slice;
    const bool has_masters = slice.master.bytes() > 0;
    const std::array<void*, 3> memory = {
        has_masters ? slice.master.data() : bucket.weights.at(slice.elements.first * 4),
        slice.exp_avg.data(),
        slice.exp_avg_sq.data()};
    for (int which = 0; which < 3; ++which) {
      auto* numbers = static_cast<float*>(memory[static_cast<std::size_t>(which)]) +
                      (state.place.sync_offset - slice.elements.first);
      for (std::int64_t i = 0; i < state.elements.num; ++i) {
        visit(numbers[i], expected(state.param, state.elements.first + i, which));
      }
    }
  }
}

/// Whether all ranks of `next` have their state after the transfers, with `dead` gone.
void check_transfer(const Plan& old,
                    const Plan& next,
                    const TrainerConfig& config,
                    const std::vector<std::int64_t>& members,
                    const std::vector<GpuId>& survivors) {
  const auto transfers = state_transfers(old, next, config, survivors);
  REQUIRE(transfers);
  for (const StateTransfer& transfer : *transfers) {
    CHECK(std::binary_search(survivors.begin(), survivors.end(), transfer.from));
  }
  std::atomic<std::int64_t> num_wrong = 0;
  std::atomic<std::int64_t> num_checked = 0;
  spawn(old.cluster.num_gpus(), [&](ThreadRank& thread) {
    const std::int64_t process = thread.transport.process();
    if (!std::binary_search(members.begin(), members.end(), process)) {
      return;
    }
    const auto group = thread.transport.make_group({.name = "members", .members = members},
                                                   deadline_in(std::chrono::seconds(60)));
    HostDevice device;
    StageStates before;
    StageStates after;
    const auto was = old.layout.rank_of(GpuId(process));
    const auto will = next.layout.rank_of(GpuId(process));
    if (was) {
      before = make_states(device, old, config, *was);
      for_each_number(before, held_state(old, config, *was), [](float& number, float value) {
        number = value;
      });
    }
    if (will) {
      after = make_states(device, next, config, *will);
    }
    const SyncStatus status =
        move_state(device, group.get(), members, process, *transfers, &before, &after);
    num_wrong += status == SyncStatus::done ? 0 : 1;
    if (will) {
      for_each_number(after, held_state(next, config, *will), [&](float& number, float value) {
        num_wrong += number == value ? 0 : 1;
        ++num_checked;
      });
    }
    group->join(group->barrier());
  });
  CHECK(num_wrong == 0);
  CHECK(num_checked > 0);
}

}  // namespace

TEST_CASE("every rank of the next plan has its masters and moments, to the bit",
          "[exec][state_transfer]") {
  Dice dice(5);
  for (const LayoutCase& layout : redundant_cases()) {
    for (const DataType type : {DataType::fp32, DataType::bf16}) {
      const ModelSpec model = type == DataType::fp32 ? tiny_gpt() : tiny_llama();
      const Plan old = plan_of(model, layout);
      TrainerConfig config = config_of(layout);
      config.type = type;
      const GpuId dead = old.layout.gpu_of(Rank(dice.between(0, old.layout.num_ranks() - 1)));
      CAPTURE(layout.name, dead);
      const auto next = replan_in_place(old, Health({dead}));
      REQUIRE(next);
      std::vector<std::int64_t> members = processes_of(old);
      std::erase(members, dead.value());
      std::vector<GpuId> survivors;
      std::sort(members.begin(), members.end());
      for (const std::int64_t member : members) {
        survivors.emplace_back(member);
      }
      check_transfer(old, *next, config, members, survivors);
      // And back, with the GPU again, which holds nothing; neither do those that stood by.
      members.push_back(dead.value());
      std::sort(members.begin(), members.end());
      check_transfer(*next, old, config, members, survivors);
    }
  }
}

TEST_CASE("a plan that stays moves nothing between GPUs", "[exec][state_transfer]") {
  for (const LayoutCase& layout : redundant_cases()) {
    const Plan plan = plan_of(tiny_llama(), layout);
    std::vector<GpuId> all;
    for (std::int64_t r = 0; r < plan.layout.num_ranks(); ++r) {
      all.push_back(plan.layout.gpu_of(Rank(r)));
    }
    std::sort(all.begin(), all.end());
    const auto transfers = state_transfers(plan, plan, config_of(layout), all);
    REQUIRE(transfers);
    CHECK(std::all_of(transfers->begin(), transfers->end(), [](const StateTransfer& transfer) {
      return transfer.from == transfer.to;
    }));
  }
}

TEST_CASE("state of the only holder is missed by name", "[exec][state_transfer]") {
  const LayoutCase layout{.name = "DP2 ZeRO-1", .sizes = {.dp = 2}, .zero_stage = 1};
  const Plan old = plan_of(tiny_llama(), layout);
  const auto next = replan_in_place(old, Health({GpuId(1)}));
  REQUIRE(next);
  const auto transfers = state_transfers(old, *next, config_of(layout), {GpuId(0)});
  REQUIRE_FALSE(transfers);
  CHECK(transfers.error().reason.starts_with(
      "no GPU that is left holds the optimizer state of elements "));
}
