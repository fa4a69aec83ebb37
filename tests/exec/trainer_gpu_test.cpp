// Ranks are threads here too, each with a GPU of its own, so that one program compares them.

#include "core/error.hpp"
#include "exec/loopback_communicator.hpp"
#include "exec/make_device.hpp"
#include "tests/catch.hpp"
#include "tests/exec/training_run.hpp"
#include "tests/gpu_count.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <unistd.h>

using namespace runflat;
using namespace runflat::tests;

namespace {

/// One GPU a process of the world; those that are one too many come back at once.
void run_on_gpus(std::int64_t world_size, const RankBody& body) {
  static int num_runs = 0;
  const auto folder =
      std::filesystem::temp_directory_path() /
      ("runflat-gpu-test-" + std::to_string(::getpid()) + "-" + std::to_string(num_runs++));
  const auto store = exec::make_store("dir:" + folder.string(), std::chrono::milliseconds(60'000));
  // Threads, and a world that ends as soon as one of them fails; NCCL carries the data.
  exec::spawn(world_size, [&](exec::ThreadRank& thread) {
    const std::int64_t process = thread.transport.process();
    const auto device = exec::make_cuda_device(static_cast<int>(process), false);
    const auto transport = exec::make_nccl_transport(*device, *store, process);
    body(*device, *transport);
  });
  std::filesystem::remove_all(folder);
}

/// The largest relative difference of two runs' losses.
double worst_difference(const TrainingRun& a, const TrainingRun& b) {
  double worst = 0.0;
  for (std::size_t step = 0; step < a.losses.size(); ++step) {
    worst = std::max(worst, std::abs(a.losses[step] / b.losses[step] - 1.0));
  }
  return worst;
}

const std::vector<LayoutCase>& gpu_cases() {
  static const std::vector<LayoutCase> cases = {
      {.name = "one GPU", .sizes = {}},
      {.name = "one GPU, full recomputation", .sizes = {}, .recompute = Recompute::full},
      {.name = "one GPU, selective", .sizes = {}, .recompute = Recompute::selective},
      {.name = "TP2", .sizes = {.tp = 2}},
      {.name = "TP2 SP", .sizes = {.tp = 2}, .sequence_parallel = true},
      {.name = "PP2 x 2 virtual", .sizes = {.pp = 2, .vpp = 2}},
      {.name = "DP2", .sizes = {.dp = 2}},
      {.name = "DP2 ZeRO-1, redundancy", .sizes = {.dp = 2}, .zero_stage = 1, .redundancy = true},
      {.name = "TP2 + TP1, unequal batch",
       .sizes = {.tp = 2, .dp = 2},
       .inactive = {{.cell = {.dp = DpRank(1), .cp = CpRank(0), .pp = PpRank(0)}, .slots = {0}}},
       .shares = {8, 4},
       .zero_stage = 1},
      {.name = "TP2 x DP2 SP ZeRO-1",
       .sizes = {.tp = 2, .dp = 2},
       .zero_stage = 1,
       .sequence_parallel = true},
  };
  return cases;
}

}  // namespace

TEST_CASE("in fp32 every layout on GPUs gives the losses of one host rank", "[exec][gpu]") {
  const ModelSpec model = GENERATE(tiny_llama(), tiny_gpt());
  const LayoutCase alone{.name = "one rank", .sizes = {}};
  const TrainingRun expected = train(plan_of(model, alone), config_of(alone), 20);
  for (const LayoutCase& layout : gpu_cases()) {
    const Plan plan = plan_of(model, layout);
    if (plan.cluster.num_gpus() > num_gpus()) {
      std::printf("skipped: %s needs %d GPUs\n",
                  layout.name.c_str(),
                  static_cast<int>(plan.cluster.num_gpus()));
      continue;
    }
    CAPTURE(model.name, layout.name);
    const TrainingRun run = train(plan, config_of(layout), 20, run_on_gpus);
    CHECK(worst_difference(run, expected) <= 1e-5);
    CHECK(run.unequal.empty());
  }
}

TEST_CASE("bf16 on a GPU follows fp32 on the host over 200 steps", "[exec][gpu]") {
  ModelSpec model = GENERATE(tiny_llama(), tiny_gpt());
  model.kv_channels = 64;  // what cuDNN's attention takes
  model.num_attention_heads = 4;
  model.num_query_groups = model.family == ModelFamily::gpt ? 4 : 2;
  model.hidden_size = 128;
  model.seq_length = 64;
  LayoutCase alone{.name = "one rank", .sizes = {}};
  alone.micro_batch_size = 4;
  exec::TrainerConfig config = config_of(alone);
  config.deterministic = true;
  const TrainingRun expected = train(plan_of(model, alone), config, 200);
  config.type = exec::DataType::bf16;
  const TrainingRun run = train(plan_of(model, alone), config, 200, run_on_gpus);
  CAPTURE(model.name);
  double worst = 0.0;
  for (std::size_t step = 0; step < run.losses.size(); ++step) {
    worst = std::max(worst, std::abs(run.losses[step] - expected.losses[step]));
  }
  // A loss is a mean over activations of 8 bits; early losses are about 4.
  CHECK(worst <= 0.03);
  const TrainingRun again = train(plan_of(model, alone), config, 200, run_on_gpus);
  CHECK(again.losses == run.losses);
  CHECK(again.weights == run.weights);
}
