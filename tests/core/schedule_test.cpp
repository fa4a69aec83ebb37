#include "core/schedule.hpp"

#include "core/error.hpp"
#include "core/schedule_check.hpp"
#include "tests/catch.hpp"

#include <algorithm>
#include <random>
#include <string>

namespace runflat {
namespace {

/// "F0.1" is the forward of microbatch 0, virtual stage 1; without interleaving just "F0".
std::string compute_order(const StepSchedule& schedule, int stage) {
  std::string text;
  for (const ScheduleOp& op : schedule.ops(PpRank{stage})) {
    if (op.kind != OpKind::forward && op.kind != OpKind::backward) {
      continue;
    }
    text += text.empty() ? "" : " ";
    text += (op.kind == OpKind::forward ? "F" : "B") + std::to_string(op.microbatch);
    if (schedule.shape().num_vp_stages > 1) {
      text += "." + std::to_string(op.vp_stage);
    }
  }
  return text;
}

/// Random shapes that Megatron accepts, small ones first.
PipelineShape random_shape(std::mt19937& random) {
  const auto between = [&random](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  PipelineShape shape{.num_stages = between(1, 9), .num_vp_stages = between(1, 4)};
  if (shape.num_stages == 1 || shape.num_vp_stages == 1) {
    shape.num_vp_stages = 1;
    shape.num_microbatches = between(1, 24);
    return shape;
  }
  const int group_size = between(shape.num_stages, 2 * shape.num_stages);
  const int remainder = between(0, 1) == 0 ? 0 : between(shape.num_stages, group_size);
  shape.microbatch_group_size = group_size;
  shape.num_microbatches = between(1, 3) * group_size + (remainder == group_size ? 0 : remainder);
  return shape;
}

/// Time at which the last stage ends its last backward if every op runs in list order, a forward
/// takes `forward`, a backward `backward`, messages take no time but both ends wait for each other.
double makespan(const StepSchedule& schedule, double forward, double backward) {
  const int num_stages = schedule.shape().num_stages;
  std::vector<std::size_t> next(static_cast<std::size_t>(num_stages), 0);
  std::vector<double> clock(static_cast<std::size_t>(num_stages), 0.0);
  // When each stage has posted the n-th message of a channel: [sender][receiver] -> times.
  using Times = std::vector<double>;
  const auto square = static_cast<std::size_t>(num_stages) * static_cast<std::size_t>(num_stages);
  std::vector<Times> sent(square);
  std::vector<Times> received(square);
  std::vector<std::vector<std::pair<Times*, std::size_t>>> waiting(
      static_cast<std::size_t>(num_stages));
  const auto step = [&](std::size_t s) {
    const std::span<const ScheduleOp> ops = schedule.ops(PpRank{static_cast<int>(s)});
    if (next[s] == ops.size()) {
      return false;
    }
    if (ops[next[s]].peer < 0) {
      clock[s] += ops[next[s]].kind == OpKind::forward    ? forward
                  : ops[next[s]].kind == OpKind::backward ? backward
                                                          : 0.0;
      ++next[s];
      return true;
    }
    std::size_t end = next[s] + 1;
    while (end < ops.size() && ops[end].joins_group) {
      ++end;
    }
    const bool is_new = waiting[s].empty();
    for (std::size_t i = next[s]; is_new && i < end; ++i) {
      const bool is_send =
          ops[i].kind == OpKind::send_activation || ops[i].kind == OpKind::send_gradient;
      const auto peer = static_cast<std::size_t>(ops[i].peer);
      const auto n = static_cast<std::size_t>(num_stages);
      const std::size_t channel = is_send ? s * n + peer : peer * n + s;
      Times& own = is_send ? sent[channel] : received[channel];
      own.push_back(clock[s]);
      waiting[s].push_back({is_send ? &received[channel] : &sent[channel], own.size() - 1});
    }
    for (const auto& [other, number] : waiting[s]) {
      if (number >= other->size()) {
        return is_new;
      }
    }
    for (const auto& [other, number] : waiting[s]) {
      clock[s] = std::max(clock[s], (*other)[number]);
    }
    waiting[s].clear();
    next[s] = end;
    return true;
  };
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t s = 0; s < static_cast<std::size_t>(num_stages); ++s) {
      while (step(s)) {
        moved = true;
      }
    }
  }
  return *std::max_element(clock.begin(), clock.end());
}

int count_of(const StepSchedule& schedule, int stage, OpKind kind) {
  const auto ops = schedule.ops(PpRank{stage});
  return static_cast<int>(
      std::count_if(ops.begin(), ops.end(), [kind](const auto& op) { return op.kind == kind; }));
}

}  // namespace

TEST_CASE("every schedule of a random shape runs over rendezvous and bounded channels",
          "[core][schedule]") {
  std::mt19937 random(20260101);
  for (int trial = 0; trial < 400; ++trial) {
    const PipelineShape shape = random_shape(random);
    const GradientSync sync{.num_buckets = 1 + trial % 3,
                            .reshard = trial % 2 == 0,
                            .distributed_optimizer = trial % 5 != 0};
    const StepSchedule schedule = make_step_schedule(shape, sync);
    INFO("pp " << shape.num_stages << " v " << shape.num_vp_stages << " m "
               << shape.num_microbatches << " N " << shape.microbatch_group_size);
    for (const int capacity : {0, 1, 4}) {
      const auto fault = check_schedule(schedule, capacity);
      INFO((fault ? fault->reason : ""));
      CHECK_FALSE(fault.has_value());
    }
  }
}

TEST_CASE("a stage holds min(m, pp - r) microbatches, and interleaved one more than its warm-up",
          "[core][schedule]") {
  std::mt19937 random(7);
  for (int trial = 0; trial < 200; ++trial) {
    const PipelineShape shape = random_shape(random);
    const StepSchedule schedule = make_step_schedule(shape);
    for (int stage = 0; stage < shape.num_stages; ++stage) {
      const int expected = shape.num_vp_stages == 1
                               ? std::min(shape.num_microbatches, shape.num_stages - stage)
                               : std::min(shape.num_microbatches * shape.num_vp_stages,
                                          num_warmup_microbatches(shape, PpRank{stage}) + 1);
      CHECK(peak_in_flight(schedule, PpRank{stage}) == expected);
    }
  }
}

TEST_CASE("the bubble is (pp - 1) / m of the ideal time, and interleaving divides it by v",
          "[core][schedule]") {
  // With forward f and backward b of one virtual stage the step takes (m v + pp - 1) (f + b).
  for (const int num_stages : {2, 3, 4, 8}) {
    for (const int num_vp_stages : {1, 2, 3}) {
      for (const int num_groups : {1, 2, 5}) {
        const int num_microbatches = num_groups * num_stages;
        const StepSchedule schedule = make_step_schedule({.num_stages = num_stages,
                                                          .num_vp_stages = num_vp_stages,
                                                          .num_microbatches = num_microbatches});
        for (const double backward : {1.0, 2.0, 3.0}) {
          INFO("pp " << num_stages << " v " << num_vp_stages << " m " << num_microbatches);
          CHECK(makespan(schedule, 1.0, backward) ==
                (num_microbatches * num_vp_stages + num_stages - 1) * (1.0 + backward));
        }
      }
    }
  }
}

TEST_CASE("replicas with different numbers of microbatches reduce in the same order",
          "[core][schedule]") {
  std::vector<StepSchedule> replicas;
  for (const int num_microbatches : {8, 4, 12}) {
    replicas.push_back(make_step_schedule(
        {.num_stages = 4, .num_vp_stages = 3, .num_microbatches = num_microbatches},
        {.num_buckets = 2, .reshard = num_microbatches != 4}));
  }
  CHECK_FALSE(check_collective_order(replicas).has_value());
  replicas.push_back(make_step_schedule(
      {.num_stages = 4, .num_vp_stages = 3, .num_microbatches = 8}, {.num_buckets = 1}));
  CHECK(check_collective_order(replicas).has_value());
}

// Published vectors: reference/training-engine.md §1.12.

TEST_CASE("1F1B of 4 stages and 6 microbatches is Megatron's", "[core][schedule][golden]") {
  const StepSchedule schedule = make_step_schedule({.num_stages = 4, .num_microbatches = 6});
  CHECK(compute_order(schedule, 0) == "F0 F1 F2 F3 B0 F4 B1 F5 B2 B3 B4 B5");
  CHECK(compute_order(schedule, 3) == "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5");
}

TEST_CASE("interleaved 2 stages x 2 virtual stages, 4 microbatches, is Megatron's",
          "[core][schedule][golden]") {
  const PipelineShape shape{.num_stages = 2, .num_vp_stages = 2, .num_microbatches = 4};
  const StepSchedule schedule = make_step_schedule(shape);
  CHECK(num_warmup_microbatches(shape, PpRank{0}) == 4);
  CHECK(compute_order(schedule, 0) ==
        "F0.0 F1.0 F0.1 F1.1 F2.0 B0.1 F3.0 B1.1 F2.1 B0.0 F3.1 B1.0 B2.1 B3.1 B2.0 B3.0");
  CHECK(num_warmup_microbatches(shape, PpRank{1}) == 2);
  CHECK(compute_order(schedule, 1) ==
        "F0.0 F1.0 F0.1 B0.1 F1.1 B1.1 F2.0 B0.0 F3.0 B1.0 F2.1 B2.1 F3.1 B3.1 B2.0 B3.0");
}

TEST_CASE("4 stages x 2 virtual stages with 8 microbatches warm up with 10, 8, 6 and 4",
          "[core][schedule][golden]") {
  const PipelineShape shape{.num_stages = 4, .num_vp_stages = 2, .num_microbatches = 8};
  std::vector<int> warmups;
  for (int stage = 0; stage < 4; ++stage) {
    warmups.push_back(num_warmup_microbatches(shape, PpRank{stage}));
  }
  CHECK(warmups == std::vector<int>{10, 8, 6, 4});
}

TEST_CASE("the order table of PP2 N3 M5 VP2 is Megatron's", "[core][schedule][golden]") {
  const std::vector<int> microbatches{0, 1, 2, 0, 1, 2, 3, 4, 3, 4};
  const std::vector<int> vp_stages{0, 0, 0, 1, 1, 1, 0, 0, 1, 1};
  const auto table = make_order_table(
      {.num_stages = 2, .num_vp_stages = 2, .num_microbatches = 5, .microbatch_group_size = 3});
  REQUIRE(table.size() == microbatches.size());
  for (std::size_t i = 0; i < table.size(); ++i) {
    CHECK(table[i] == VirtualMicrobatch{microbatches[i], vp_stages[i]});
  }
}

TEST_CASE("shapes that Megatron refuses are refused", "[core][schedule]") {
  const auto shape = [](int pp, int v, int m, int n) {
    return PipelineShape{
        .num_stages = pp, .num_vp_stages = v, .num_microbatches = m, .microbatch_group_size = n};
  };
  CHECK_THROWS_AS(make_step_schedule(shape(4, 2, 8, 3)), InvalidArgument);   // N < pp
  CHECK_THROWS_AS(make_step_schedule(shape(4, 2, 4, 8)), InvalidArgument);   // N > m
  CHECK_THROWS_AS(make_step_schedule(shape(4, 2, 10, 4)), InvalidArgument);  // m mod N = 2 < pp
  CHECK_THROWS_AS(make_step_schedule(shape(1, 2, 4, 0)), InvalidArgument);   // no pipeline
  CHECK_THROWS_AS(make_step_schedule(shape(2, 1, 0, 0)), InvalidArgument);   // no work
  CHECK_NOTHROW(make_step_schedule(shape(4, 2, 12, 8)));                     // m mod N = pp
}

TEST_CASE("the end of a step reduces, updates and brings the parameters back", "[core][schedule]") {
  const PipelineShape shape{.num_stages = 2, .num_vp_stages = 2, .num_microbatches = 2};
  const auto kinds_after_backward = [&shape](const GradientSync& sync) {
    const StepSchedule schedule = make_step_schedule(shape, sync);
    std::string text;
    for (const ScheduleOp& op : schedule.ops(PpRank{1})) {
      if (op.bucket >= 0 || op.kind == OpKind::optimizer) {
        text += std::string(name_of(op.kind)) + std::to_string(op.vp_stage) + " ";
      }
    }
    return text;
  };
  CHECK(kinds_after_backward({.reshard = false, .distributed_optimizer = false}) ==
        "reduce1 reduce0 optimizer-1 ");
  CHECK(kinds_after_backward({.reshard = true, .distributed_optimizer = false}) ==
        "reshard_to_sync1 reduce1 reshard_to_sync0 reduce0 "
        "reshard_to_compute1 reshard_to_compute0 optimizer-1 ");
  CHECK(kinds_after_backward({.reshard = true, .distributed_optimizer = true}) ==
        "reshard_to_sync1 reduce1 reshard_to_sync0 reduce0 optimizer-1 "
        "gather0 reshard_to_compute0 gather1 reshard_to_compute1 ");
}

TEST_CASE("a single stage exchanges nothing", "[core][schedule]") {
  const StepSchedule schedule = make_step_schedule({.num_microbatches = 3});
  CHECK(compute_order(schedule, 0) == "F0 B0 F1 B1 F2 B2");
  CHECK(count_of(schedule, 0, OpKind::send_activation) == 0);
  CHECK(count_of(schedule, 0, OpKind::recv_gradient) == 0);
}

}  // namespace runflat
