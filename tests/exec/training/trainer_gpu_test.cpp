// One rank on one GPU: several are processes, and compared by tests/python/test_train_gpu.py.

#include "exec/communication/loopback_communicator.hpp"
#include "exec/device/make_device.hpp"
#include "tests/catch.hpp"
#include "tests/exec/training_run.hpp"

#include <algorithm>
#include <cmath>

using namespace runflat;
using namespace runflat::tests;

namespace {

void run_on_gpu(std::int64_t world_size, const RankBody& body) {
  exec::spawn(world_size, [&](exec::ThreadRank& thread) {
    const auto device = exec::make_cuda_device(0, false);
    body(*device, thread.transport);
  });
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
  };
  return cases;
}

}  // namespace

TEST_CASE("in fp32 a GPU gives the losses of the host", "[exec][gpu]") {
  const ModelSpec model = GENERATE(tiny_llama(), tiny_gpt());
  const LayoutCase alone{.name = "one rank", .sizes = {}};
  const TrainingRun expected = train(plan_of(model, alone), config_of(alone), 20);
  for (const LayoutCase& layout : gpu_cases()) {
    const Plan plan = plan_of(model, layout);
    CAPTURE(model.name, layout.name);
    const TrainingRun run = train(plan, config_of(layout), 20, run_on_gpu);
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
  const TrainingRun run = train(plan_of(model, alone), config, 200, run_on_gpu);
  CAPTURE(model.name);
  double worst = 0.0;
  for (std::size_t step = 0; step < run.losses.size(); ++step) {
    worst = std::max(worst, std::abs(run.losses[step] - expected.losses[step]));
  }
  // A loss is a mean over activations of 8 bits; early losses are about 4.
  CHECK(worst <= 0.03);
  const TrainingRun again = train(plan_of(model, alone), config, 200, run_on_gpu);
  CHECK(again.losses == run.losses);
  CHECK(again.weights == run.weights);
}
