#include "core/schedule_check.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"

#include <algorithm>
#include <functional>

namespace runflat {
namespace {

/// The schedule after `edit` has changed the op list of one stage.
StepSchedule edited(const StepSchedule& schedule,
                    int edited_stage,
                    const std::function<void(std::vector<ScheduleOp>&)>& edit) {
  std::vector<ScheduleOp> all;
  std::vector<std::size_t> first_op{0};
  for (int stage = 0; stage < schedule.shape().num_stages; ++stage) {
    const auto ops = schedule.ops(PpRank{stage});
    std::vector<ScheduleOp> list(ops.begin(), ops.end());
    if (stage == edited_stage) {
      edit(list);
    }
    all.insert(all.end(), list.begin(), list.end());
    first_op.push_back(all.size());
  }
  return {schedule.shape(), std::move(all), std::move(first_op)};
}

auto find_kind(std::vector<ScheduleOp>& ops, OpKind kind, int microbatch = -1) {
  return std::find_if(ops.begin(), ops.end(), [=](const ScheduleOp& op) {
    return op.kind == kind && (microbatch < 0 || op.microbatch == microbatch);
  });
}

}  // namespace

TEST_CASE("leaving out any one op makes a schedule faulty", "[core][schedule_check]") {
  for (const PipelineShape shape :
       {PipelineShape{.num_stages = 3, .num_microbatches = 4},
        PipelineShape{.num_stages = 2, .num_vp_stages = 2, .num_microbatches = 4}}) {
    const StepSchedule schedule =
        make_step_schedule(shape, {.num_buckets = 2, .distributed_optimizer = false});
    REQUIRE_FALSE(check_schedule(schedule).has_value());
    for (int stage = 0; stage < shape.num_stages; ++stage) {
      for (std::size_t i = 0; i < schedule.ops(PpRank{stage}).size(); ++i) {
        const StepSchedule broken = edited(schedule, stage, [i](std::vector<ScheduleOp>& ops) {
          ops.erase(ops.begin() + static_cast<std::ptrdiff_t>(i));
        });
        INFO("stage " << stage << " op " << i);
        CHECK(check_schedule(broken).has_value());
      }
    }
  }
}

TEST_CASE("repeating any one op makes a schedule faulty", "[core][schedule_check]") {
  const StepSchedule schedule = make_step_schedule({.num_stages = 3, .num_microbatches = 4},
                                                   {.distributed_optimizer = false});
  for (int stage = 0; stage < 3; ++stage) {
    for (std::size_t i = 0; i < schedule.ops(PpRank{stage}).size(); ++i) {
      const StepSchedule broken = edited(schedule, stage, [i](std::vector<ScheduleOp>& ops) {
        ops.insert(ops.begin() + static_cast<std::ptrdiff_t>(i), ops[i]);
      });
      CHECK(check_schedule(broken).has_value());
    }
  }
}

TEST_CASE("1F1B without grouped messages deadlocks over rendezvous channels",
          "[core][schedule_check]") {
  StepSchedule schedule = make_step_schedule({.num_stages = 2, .num_microbatches = 4});
  for (int stage = 0; stage < 2; ++stage) {
    schedule = edited(schedule, stage, [](std::vector<ScheduleOp>& ops) {
      for (ScheduleOp& op : ops) {
        op.joins_group = false;
      }
    });
  }
  const auto fault = check_schedule(schedule, 0);
  REQUIRE(fault.has_value());
  CHECK_THAT(fault->reason, Catch::Contains("waits forever"));
  CHECK_FALSE(check_schedule(schedule, 1).has_value());
}

TEST_CASE("receiving in another order than was sent is found", "[core][schedule_check]") {
  const StepSchedule schedule = make_step_schedule({.num_stages = 3, .num_microbatches = 4});
  const StepSchedule broken = edited(schedule, 1, [](std::vector<ScheduleOp>& ops) {
    std::swap(find_kind(ops, OpKind::forward, 0)->microbatch,
              find_kind(ops, OpKind::forward, 1)->microbatch);
    std::swap(find_kind(ops, OpKind::recv_activation, 0)->microbatch,
              find_kind(ops, OpKind::recv_activation, 1)->microbatch);
    std::swap(find_kind(ops, OpKind::send_activation, 0)->microbatch,
              find_kind(ops, OpKind::send_activation, 1)->microbatch);
  });
  const auto fault = check_schedule(broken);
  REQUIRE(fault.has_value());
  CHECK_THAT(fault->reason, Catch::Contains("meets another message"));
}

TEST_CASE("a negative channel capacity is a bug of the caller", "[core][schedule_check]") {
  CHECK_THROWS_AS(check_schedule(make_step_schedule({}), -1), InvalidArgument);
}

}  // namespace runflat
