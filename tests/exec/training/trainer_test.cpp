#include "exec/training/trainer.hpp"

#include "exec/data/mock_dataset.hpp"
#include "tests/catch.hpp"
#include "tests/exec/training_run.hpp"

#include <algorithm>
#include <cmath>
#include <map>

using namespace runflat;
using namespace runflat::tests;

namespace {

constexpr std::int64_t kSteps = 20;

InactiveSlots without(std::int64_t dp, std::int64_t pp, std::vector<std::int64_t> slots) {
  return {.cell = {.dp = DpRank(dp), .cp = CpRank(0), .pp = PpRank(pp)}, .slots = std::move(slots)};
}

const TrainingRun& one_rank(const ModelSpec& model) {
  static std::map<std::string, TrainingRun> runs;
  const auto found = runs.find(model.name);
  if (found != runs.end()) {
    return found->second;
  }
  const LayoutCase alone{.name = "one rank", .sizes = {}};
  return runs.emplace(model.name, train(plan_of(model, alone), config_of(alone), kSteps))
      .first->second;
}

void check_parity(const ModelSpec& model, const LayoutCase& layout) {
  CAPTURE(model.name, layout.name);
  const TrainingRun& expected = one_rank(model);
  const TrainingRun run = train(plan_of(model, layout), config_of(layout), kSteps);
  REQUIRE(run.losses.size() == expected.losses.size());
  double worst = 0.0;
  for (std::size_t step = 0; step < run.losses.size(); ++step) {
    worst = std::max(worst, std::abs(run.losses[step] / expected.losses[step] - 1.0));
  }
  CHECK(worst <= 1e-5);
  CHECK(run.unequal.empty());
}

const std::vector<LayoutCase>& uniform_cases() {
  static const std::vector<LayoutCase> cases = {
      {.name = "TP2", .sizes = {.tp = 2}},
      {.name = "TP3, uneven", .sizes = {.tp = 3}},
      {.name = "TP4", .sizes = {.tp = 4}},
      {.name = "TP4 SP", .sizes = {.tp = 4}, .sequence_parallel = true},
      {.name = "TP3 SP, uneven", .sizes = {.tp = 3}, .sequence_parallel = true},
      {.name = "PP2", .sizes = {.pp = 2}},
      {.name = "PP2 x 2 virtual", .sizes = {.pp = 2, .vpp = 2}},
      {.name = "DP2", .sizes = {.dp = 2}},
      {.name = "DP2 ZeRO-1", .sizes = {.dp = 2}, .zero_stage = 1},
      {.name = "DP3 ZeRO-1, 4 buckets", .sizes = {.dp = 3}, .zero_stage = 1, .num_buckets = 4},
      {.name = "accumulation", .sizes = {}, .micro_batch_size = 3},
      {.name = "full recomputation", .sizes = {}, .recompute = Recompute::full},
      {.name = "selective recomputation", .sizes = {}, .recompute = Recompute::selective},
      {.name = "TP2 SP PP2 DP2 ZeRO-1 recomputed",
       .sizes = {.tp = 2, .dp = 2, .pp = 2},
       .zero_stage = 1,
       .sequence_parallel = true,
       .recompute = Recompute::full,
       .micro_batch_size = 2},
      {.name = "TP2 PP2 x 2 virtual DP2 ZeRO-1",
       .sizes = {.tp = 2, .dp = 2, .pp = 2, .vpp = 2},
       .zero_stage = 1},
  };
  return cases;
}

const std::vector<LayoutCase>& nonuniform_cases() {
  static const std::vector<LayoutCase> cases = {
      {.name = "TP4 + TP2", .sizes = {.tp = 4, .dp = 2}, .inactive = {without(1, 0, {2, 3})}},
      {.name = "TP4 + TP3", .sizes = {.tp = 4, .dp = 2}, .inactive = {without(1, 0, {3})}},
      {.name = "TP4 + TP3 + TP2",
       .sizes = {.tp = 4, .dp = 3},
       .inactive = {without(1, 0, {3}), without(2, 0, {1, 2})}},
      {.name = "non-tail slots", .sizes = {.tp = 4, .dp = 2}, .inactive = {without(0, 0, {0, 2})}},
      {.name = "TP4 + TP1", .sizes = {.tp = 4, .dp = 2}, .inactive = {without(1, 0, {0, 1, 3})}},
      {.name = "unequal batch",
       .sizes = {.tp = 4, .dp = 2},
       .inactive = {without(1, 0, {1})},
       .shares = {7, 5}},
      {.name = "SP",
       .sizes = {.tp = 4, .dp = 2},
       .inactive = {without(1, 0, {1})},
       .sequence_parallel = true},
      {.name = "ZeRO-1",
       .sizes = {.tp = 4, .dp = 2},
       .inactive = {without(0, 0, {1})},
       .zero_stage = 1},
      {.name = "ZeRO-1 SP, redundancy, unequal batch",
       .sizes = {.tp = 4, .dp = 3},
       .inactive = {without(1, 0, {3}), without(2, 0, {1, 2})},
       .shares = {5, 4, 3},
       .zero_stage = 1,
       .sequence_parallel = true,
       .redundancy = true},
      {.name = "one reduced stage",
       .sizes = {.tp = 2, .dp = 2, .pp = 2},
       .inactive = {without(1, 1, {0})}},
      {.name = "one reduced stage, SP ZeRO-1",
       .sizes = {.tp = 2, .dp = 2, .pp = 2},
       .inactive = {without(0, 0, {1})},
       .zero_stage = 1,
       .sequence_parallel = true},
      {.name = "one reduced stage, interleaved, ZeRO-1",
       .sizes = {.tp = 2, .dp = 2, .pp = 2, .vpp = 2},
       .inactive = {without(0, 1, {1})},
       .zero_stage = 1},
  };
  return cases;
}

const std::vector<LayoutCase>& shared_group_cases() {
  static const std::vector<LayoutCase> cases = {
      {.name = "TP4, two ranks a kv-group", .sizes = {.tp = 4}},
      {.name = "TP4 SP", .sizes = {.tp = 4}, .sequence_parallel = true},
      {.name = "TP4 + TP2", .sizes = {.tp = 4, .dp = 2}, .inactive = {without(0, 0, {1, 2})}},
      {.name = "TP4 + TP1, ZeRO-1",
       .sizes = {.tp = 4, .dp = 2},
       .inactive = {without(1, 0, {0, 1, 2})},
       .zero_stage = 1},
      {.name = "TP6 + TP4 SP, ZeRO-1, redundancy: shared in both maps",
       .sizes = {.tp = 6, .dp = 2},
       .inactive = {without(0, 0, {2, 3})},
       .zero_stage = 1,
       .sequence_parallel = true,
       .redundancy = true},
  };
  return cases;
}

}  // namespace

TEST_CASE("ranks that share a kv-group give the losses of one rank", "[exec][trainer][parity]") {
  ModelSpec model = tiny_llama();
  model.name = "two groups";
  model.num_query_groups = 2;
  for (const LayoutCase& layout : shared_group_cases()) {
    check_parity(model, layout);
  }
}

TEST_CASE("every uniform layout gives the losses of one rank", "[exec][trainer][parity]") {
  const ModelSpec model = GENERATE(tiny_llama(), tiny_gpt());
  for (const LayoutCase& layout : uniform_cases()) {
    check_parity(model, layout);
  }
}

TEST_CASE("every nonuniform layout gives the losses of one rank", "[exec][trainer][parity]") {
  const ModelSpec model = GENERATE(tiny_llama(), tiny_gpt());
  for (const LayoutCase& layout : nonuniform_cases()) {
    check_parity(model, layout);
  }
}

TEST_CASE("bf16 with fp32 masters follows fp32 and keeps all owners equal", "[exec][trainer]") {
  const ModelSpec model = GENERATE(tiny_llama(), tiny_gpt());
  const TrainingRun& expected = one_rank(model);
  LayoutCase layout{.name = "bf16",
                    .sizes = {.tp = 4, .dp = 2},
                    .inactive = {without(1, 0, {1})},
                    .shares = {7, 5},
                    .zero_stage = 1,
                    .sequence_parallel = true,
                    .redundancy = true};
  exec::TrainerConfig config = config_of(layout);
  config.type = exec::DataType::bf16;
  const TrainingRun run = train(plan_of(model, layout), config, kSteps);
  CAPTURE(model.name);
  CHECK(run.unequal.empty());
  for (std::size_t step = 0; step < run.losses.size(); ++step) {
    // bf16 has 8 bits: a rounding of 2^-9 for every activation, of which losses are means.
    CHECK(run.losses[step] == Approx(expected.losses[step]).epsilon(4e-3));
  }
}

TEST_CASE("evaluation gives the loss of the step that would follow and changes nothing",
          "[exec][trainer]") {
  const ModelSpec model = GENERATE(tiny_llama(), tiny_gpt());
  const std::vector<LayoutCase> layouts = {
      {.name = "one rank", .sizes = {}},
      {.name = "PP2 x 2 virtual", .sizes = {.pp = 2, .vpp = 2}},
      {.name = "PP4", .sizes = {.pp = 4}},
      {.name = "TP2 PP2 DP2, one reduced stage, SP ZeRO-1",
       .sizes = {.tp = 2, .dp = 2, .pp = 2},
       .inactive = {without(0, 0, {1})},
       .zero_stage = 1,
       .sequence_parallel = true,
       .recompute = Recompute::full}};
  for (const LayoutCase& layout : layouts) {
    CAPTURE(model.name, layout.name);
    const Plan plan = plan_of(model, layout);
    const TrainingRun expected = train(plan, config_of(layout), 2);
    std::vector<double> losses;
    run_on_host(plan.cluster.num_gpus(), [&](exec::Device& device, exec::Transport& transport) {
      if (!plan.layout.rank_of(GpuId(transport.process()))) {
        return;
      }
      const exec::MockDataset data({.seq_length = model.seq_length,
                                    .num_samples = 1 << 20,
                                    .vocab_size = model.padded_vocab_size,
                                    .seed = 7});
      exec::Trainer trainer(device, transport, plan, config_of(layout));
      for (int step = 0; step < 2; ++step) {
        const exec::Progress before = trainer.progress();
        const double loss = trainer.evaluate(data, before.consumed_samples).sums.loss;
        REQUIRE(trainer.progress() == before);
        const double trained = trainer.step(data).sums.loss;
        if (trainer.rank().value() == 0) {
          losses.insert(losses.end(), {loss, trained});
        }
      }
    });
    CHECK(losses ==
          std::vector<double>{
              expected.losses[0], expected.losses[0], expected.losses[1], expected.losses[1]});
  }
}

TEST_CASE("gradients are resharded and reduced while the last backward still runs",
          "[exec][trainer][overlap]") {
  ModelSpec model = tiny_llama();
  model.hidden_size = 128;  // long enough for a bucket to be on its way before the next is ready
  model.kv_channels = 16;
  model.ffn_hidden_size = 512;
  model.seq_length = 128;
  const LayoutCase layout{.name = "TP4 + TP2",
                          .sizes = {.tp = 4, .dp = 2},
                          .inactive = {without(1, 0, {1, 2})},
                          .micro_batch_size = 6,
                          .num_buckets = 4};
  const TrainingRun run = train(plan_of(model, layout), config_of(layout), 1);
  // On a machine that is busy otherwise a rank's communication may start late: one rank is enough.
  std::int64_t num_resharding = 0;
  std::int64_t num_reducing = 0;
  for (const Timeline& timeline : run.timelines) {
    Seconds last_backward{};
    for (const Span& span : timeline.spans()) {
      last_backward = span.name == "backward" ? std::max(last_backward, span.end) : last_backward;
    }
    const auto any = [&](const char* name, Seconds Span::*time) {
      return std::any_of(timeline.spans().begin(), timeline.spans().end(), [&](const Span& span) {
        return span.name == name && span.*time < last_backward;
      });
    };
    num_resharding += any("reshard_to_sync", &Span::end) ? 1 : 0;
    num_reducing += any("reduce", &Span::begin) ? 1 : 0;  // the end is up to the other replica
  }
  CHECK(num_resharding > 0);
  CHECK(num_reducing > 0);
}
