#include "exec/checkpoint/checkpointer.hpp"

#include "core/error.hpp"
#include "exec/communication/loopback_communicator.hpp"
#include "tests/catch.hpp"
#include "tests/exec/checkpoint_files.hpp"
#include "tests/exec/temporary_directory.hpp"
#include "tests/exec/training_run.hpp"
#include "tests/exec/worlds.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <span>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace runflat::tests;

namespace {

constexpr std::int64_t kSteps = 8;
constexpr std::int64_t kSaved = 3;

InactiveSlots without(std::int64_t dp, std::int64_t pp, std::vector<std::int64_t> slots) {
  return {.cell = {.dp = DpRank(dp), .cp = CpRank(0), .pp = PpRank(pp)}, .slots = std::move(slots)};
}

const std::vector<LayoutCase>& layouts() {
  static const std::vector<LayoutCase> cases = {
      {.name = "one rank", .sizes = {}},
      {.name = "TP3 DP2 ZeRO-1, 3 buckets",
       .sizes = {.tp = 3, .dp = 2},
       .zero_stage = 1,
       .num_buckets = 3},
      {.name = "TP2 SP PP2 x 2 virtual DP2",
       .sizes = {.tp = 2, .dp = 2, .pp = 2, .vpp = 2},
       .sequence_parallel = true},
      {.name = "NTP: TP4 + TP3 + TP2 SP, ZeRO-1, redundancy",
       .sizes = {.tp = 4, .dp = 3},
       .inactive = {without(1, 0, {3}), without(2, 0, {1, 2})},
       .shares = {5, 4, 3},
       .zero_stage = 1,
       .sequence_parallel = true,
       .redundancy = true},
      {.name = "NTP: one reduced stage, ZeRO-1",
       .sizes = {.tp = 2, .dp = 2, .pp = 2},
       .inactive = {without(0, 1, {1})},
       .zero_stage = 1},
  };
  return cases;
}

TrainingRun run(const ModelSpec& model,
                const LayoutCase& layout,
                const CheckpointUse& checkpoints,
                DataType type = DataType::fp32,
                std::int64_t num_steps = kSteps) {
  TrainerConfig config = config_of(layout);
  config.type = type;
  return train(plan_of(model, layout), config, num_steps, run_on_host, checkpoints);
}

/// Loads a checkpoint into a layout and saves it again, without a step.
void load_and_save(const ModelSpec& model,
                   const LayoutCase& layout,
                   DataType type,
                   const std::filesystem::path& from,
                   const std::filesystem::path& to) {
  const Plan plan = plan_of(model, layout);
  TrainerConfig config = config_of(layout);
  config.type = type;
  run_on_host(plan.cluster.num_gpus(), [&](Device& device, Transport& transport) {
    if (plan.layout.rank_of(GpuId(transport.process()))) {
      Trainer trainer(device, transport, plan, config);
      Checkpointer checkpointer(transport, plan.layout, {.folder = to});
      load_checkpoint(from, device, trainer);
      checkpointer.save(device, trainer);
      checkpointer.wait();
    }
  });
}

}  // namespace

TEST_CASE("k steps, resumed for the rest, are the uninterrupted steps", "[exec][ckpt]") {
  const ModelSpec model = GENERATE(tiny_llama(), tiny_gpt());
  const TrainingRun alone = run(model, layouts().front(), {});
  for (std::size_t i = 0; i < layouts().size(); ++i) {
    const TemporaryDirectory folder(memory_folder());
    const LayoutCase& layout = layouts()[i];
    const LayoutCase& other = layouts()[(i + 1) % layouts().size()];
    CAPTURE(model.name, layout.name, other.name);
    const TrainingRun whole = run(model, layout, {.save = folder.path(), .save_at = kSaved});
    const TrainingRun same = run(model, layout, {.load = folder.path()});
    const TrainingRun elsewhere = run(model, other, {.load = folder.path()});
    REQUIRE(same.losses.size() == kSteps - kSaved);
    REQUIRE(elsewhere.losses.size() == kSteps - kSaved);
    const std::vector<double> rest(whole.losses.begin() + kSaved, whole.losses.end());
    CHECK(same.losses == rest);
    CHECK(same.weights == whole.weights);
    CHECK(elsewhere.unequal.empty());
    for (std::size_t step = 0; step < elsewhere.losses.size(); ++step) {
      CHECK(std::abs(elsewhere.losses[step] / alone.losses[step + kSaved] - 1.0) <= 1e-5);
    }
  }
}

TEST_CASE("a checkpoint holds the same in whatever layout it was loaded", "[exec][ckpt]") {
  const ModelSpec model = GENERATE(tiny_llama(), tiny_gpt());
  const DataType type = GENERATE(DataType::fp32, DataType::bf16);
  const TemporaryDirectory folder(memory_folder());
  const std::filesystem::path first = folder.path() / "first";
  (void)run(model, layouts()[1], {.save = first, .save_at = 2}, type, 2);
  const std::vector<double> expected = contents(first);
  for (const LayoutCase& layout : layouts()) {
    for (const DataType into : {DataType::fp32, DataType::bf16, DataType::fp64}) {
      CAPTURE(model.name, layout.name, static_cast<int>(into));
      const std::filesystem::path second = folder.path() / "second";
      load_and_save(model, layout, into, first, second);
      CHECK(contents(second) == expected);
      CHECK(CheckpointReader(second).index().header.progress ==
            Progress{.steps = 2, .consumed_samples = 2 * kGlobalBatchSize});
      std::filesystem::remove_all(second);
    }
  }
}

TEST_CASE("resumed in bf16, steps go on to the bit", "[exec][ckpt]") {
  const LayoutCase& layout = layouts()[3];
  const TemporaryDirectory folder(memory_folder());
  const TrainingRun whole =
      run(tiny_llama(), layout, {.save = folder.path(), .save_at = 2}, DataType::bf16, 4);
  const TrainingRun rest = run(tiny_llama(), layout, {.load = folder.path()}, DataType::bf16, 4);
  CHECK(rest.losses == std::vector<double>(whole.losses.begin() + 2, whole.losses.end()));
  CHECK(rest.weights == whole.weights);
}

TEST_CASE("of replicas that hold the same, each writes a part of it", "[exec][ckpt]") {
  const TemporaryDirectory folder(memory_folder());
  const LayoutCase layout{.name = "DP3", .sizes = {.dp = 3}};
  (void)run(tiny_llama(), layout, {.save = folder.path(), .save_at = 1}, DataType::fp32, 1);
  std::vector<double> sizes;
  for (const char* file : {"rank_00000", "rank_00001", "rank_00002"}) {
    sizes.push_back(static_cast<double>(std::filesystem::file_size(
        find_checkpoint(folder.path()) / (std::string(file) + ".safetensors"))));
  }
  const double num = static_cast<double>(tiny_llama().num_parameters());
  for (const double size : sizes) {
    CHECK(size == Approx(num / 3.0 * 12.0).epsilon(0.2));  // and a header
  }
}

TEST_CASE("the last checkpoints are kept, and one of the same step is replaced", "[exec][ckpt]") {
  const TemporaryDirectory folder(memory_folder());
  for (const std::int64_t step : {1, 2, 3, 4}) {
    save_tiny(folder.path(), step);
    CHECK(contents(folder.path()) == tiny_contents(step));
  }
  const std::vector<std::string> two = {"latest", "step_00000003", "step_00000004"};
  CHECK(names_in(folder.path()) == two);
  save_tiny(folder.path(), 3);  // a run that was taken back
  CHECK(names_in(folder.path()) == two);
  CHECK(find_checkpoint(folder.path()).filename() == "step_00000003");
  CHECK(contents(folder.path() / "step_00000004") == tiny_contents(4));
}

TEST_CASE("a checkpoint appears when all ranks have written, or not at all", "[exec][ckpt]") {
  const TemporaryDirectory folder(memory_folder());
  const ParallelLayout layout = ParallelLayout::uniform({.dp = 3});
  std::vector<std::string> ends(3);
  spawn(3, [&](ThreadRank& self) {
    const std::int64_t rank = self.world.rank();
    Checkpointer checkpointer(
        self.transport, layout, {.folder = folder.path(), .timeout = std::chrono::seconds(20)});
    checkpointer.save(tiny_header(1), tiny_state(1, rank, 3));
    checkpointer.wait();
    if (rank == 2) {
      throw RankDeath();
    }
    try {
      checkpointer.save(tiny_header(2), tiny_state(2, rank, 3));
      checkpointer.wait();
    } catch (const PeerLost&) {
      ends[static_cast<std::size_t>(rank)] = "peer lost";
    }
  });
  CHECK(ends == std::vector<std::string>{"peer lost", "peer lost", ""});
  CHECK(names_in(folder.path()) == std::vector<std::string>{"latest", "step_00000001"});
  CHECK(contents(folder.path()) == tiny_contents(1));
}

TEST_CASE("a process that is killed takes no checkpoint with it", "[exec][ckpt]") {
  const TemporaryDirectory folder(memory_folder());
  Processes processes(2, [&](TestRank& self) -> std::string {
    const std::int64_t rank = self.world.rank();
    Checkpointer checkpointer(self.transport,
                              ParallelLayout::uniform({.dp = 2}),
                              {.folder = folder.path(), .keep_last = 2, .timeout = 20s});
    try {
      for (std::int64_t step = 1;; ++step) {
        checkpointer.save(tiny_header(step), tiny_state(step, rank, 2));
      }
    } catch (const PeerLost&) {
      return "peer lost";
    }
  });
  const Deadline deadline = deadline_in(20s);
  while (!std::filesystem::exists(folder.path() / "step_00000002") && Clock::now() < deadline) {
    std::this_thread::sleep_for(1ms);
  }
  processes.kill(1, SIGKILL);
  CHECK(processes.results() == std::vector<std::string>{"peer lost", "dead"});
  for (const std::string& name : names_in(folder.path())) {
    CHECK((name == "latest" || name.starts_with("step_")));  // nothing half written
  }
  const std::int64_t step = CheckpointReader(folder.path()).index().header.progress.steps;
  CHECK(contents(folder.path()) == tiny_contents(step));
}

TEST_CASE("where one rank cannot write, all are told and nothing is left", "[exec][ckpt]") {
  const TemporaryDirectory folder(memory_folder());
  const ParallelLayout layout = ParallelLayout::uniform({.dp = 2});
  std::vector<std::string> ends(2);
  spawn(2, [&](ThreadRank& self) {
    const std::int64_t rank = self.world.rank();
    const std::filesystem::path where = rank == 1 ? folder.path() / "elsewhere" : folder.path();
    Checkpointer checkpointer(self.transport, layout, {.folder = where});
    std::string& end = ends[static_cast<std::size_t>(rank)];
    try {
      checkpointer.save(tiny_header(1), tiny_state(1, rank, 2));
      checkpointer.wait();
    } catch (const SaveFailed& error) {
      end = error.what();
    }
  });
  const std::filesystem::path file =
      folder.path() / "elsewhere" / ".step_00000001.0" / "rank_00001.safetensors";
  const std::string expected = "the checkpoint of step 1 was given up: rank 1: " + file.string() +
                               ": No such file or directory";
  CHECK(ends == std::vector<std::string>{expected, expected});
  CHECK(names_in(folder.path()).empty());
}

TEST_CASE("copies of peers' slices are loaded too", "[exec][ckpt]") {
  const TemporaryDirectory folder(memory_folder());
  const LayoutCase& layout = layouts()[3];
  REQUIRE(layout.redundancy);
  (void)run(tiny_llama(), layouts()[1], {.save = folder.path(), .save_at = 2}, DataType::bf16, 2);
  const Plan plan = plan_of(tiny_llama(), layout);
  TrainerConfig config = config_of(layout);
  config.type = DataType::bf16;
  std::atomic<std::int64_t> num_equal = 0;
  std::atomic<std::int64_t> num_wrong = 0;
  run_on_host(plan.cluster.num_gpus(), [&](Device& device, Transport& transport) {
    if (!plan.layout.rank_of(GpuId(transport.process()))) {
      return;
    }
    Trainer trainer(device, transport, plan, config);
    load_checkpoint(folder.path(), device, trainer);
    CheckpointReader reader(folder.path());
    StageState& stage = *trainer.stages().front();
    for (const Bucket& bucket : stage.buckets()) {
      if (!bucket.buddy) {
        continue;
      }
      const ElementRange& slice = bucket.buddy->elements;
      for (const SliceRun& part : runs_of(stage.layout(), bucket.shape, slice)) {
        const auto compare = [&](const Buffer& copy, StateKind kind) {
          std::vector<float> expected(static_cast<std::size_t>(part.elements.num));
          reader.read(stage.params()[part.param].source_name,
                      kind,
                      part.elements.first,
                      std::span(expected));
          const auto* held =
              static_cast<const float*>(copy.data()) + part.sync_offset - slice.first;
          (std::equal(expected.begin(), expected.end(), held) ? num_equal : num_wrong) += 1;
        };
        compare(bucket.buddy->master, StateKind::param);
        compare(bucket.buddy->exp_avg, StateKind::exp_avg);
        compare(bucket.buddy->exp_avg_sq, StateKind::exp_avg_sq);
      }
    }
  });
  CHECK(num_wrong == 0);
  CHECK(num_equal > 0);
}

TEST_CASE("elements that are missing or there twice are refused when saving", "[exec][ckpt]") {
  const TemporaryDirectory folder(memory_folder());
  save_tiny(folder.path(), 1);
  run_on_host(1, [&](Device&, Transport& transport) {
    Checkpointer checkpointer(transport, ParallelLayout::uniform({}), {.folder = folder.path()});
    StateCopy missing = tiny_state(2);
    missing.ranges.pop_back();
    checkpointer.save(tiny_header(2), std::move(missing));
    CHECK_THROWS_AS(checkpointer.wait(), SaveFailed);
    StateCopy twice = tiny_state(2);
    twice.ranges.push_back(twice.ranges.front());
    twice.bytes.insert(twice.bytes.end(), twice.bytes.begin(), twice.bytes.end());
    checkpointer.save(tiny_header(2), std::move(twice));
    CHECK_THROWS(checkpointer.wait());
    CHECK_NOTHROW(checkpointer.wait());  // said once
  });
  CHECK(names_in(folder.path()) == std::vector<std::string>{"latest", "step_00000001"});
}

TEST_CASE("a full disk loses nothing", "[exec][ckpt]") {
  const TemporaryDirectory folder(memory_folder());
  save_tiny(folder.path(), 1);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);  // the write fails instead, as on a full disk
    const rlimit limit{.rlim_cur = 600, .rlim_max = 600};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      save_tiny(folder.path(), 2);
      ::_exit(1);
    } catch (const SaveFailed& error) {
      const std::string line = error.what();
      ::_exit(line.ends_with("rank_00000.safetensors: File too large") ? 0 : 2);
    }
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"latest", "step_00000001"});
  CHECK(contents(folder.path()) == tiny_contents(1));
}

TEST_CASE("a checkpoint of another model is refused with the first difference", "[exec][ckpt]") {
  const TemporaryDirectory folder(memory_folder());
  const LayoutCase alone{.name = "one rank", .sizes = {}};
  (void)run(tiny_llama(), alone, {.save = folder.path(), .save_at = 1}, DataType::fp32, 1);
  const auto error_with = [&](const ModelSpec& model, double rotary_base) -> std::string {
    try {
      TrainerConfig config = config_of(alone);
      config.rotary_base = rotary_base;
      (void)train(plan_of(model, alone), config, 1, run_on_host, {.load = folder.path()});
    } catch (const ParseError& error) {
      return error.what();
    }
    return "";
  };
  ModelSpec longer = tiny_llama();
  longer.seq_length = 32;
  longer.name = "renamed";
  CHECK(error_with(longer, 10000.0).empty());
  ModelSpec wider = tiny_llama();
  wider.ffn_hidden_size = 64;
  CHECK(error_with(wider, 10000.0)
            .find("model.ffn_hidden_size: the checkpoint has 48, the model to "
                  "be trained 64") != std::string::npos);
  CHECK(error_with(tiny_llama(), 500000.0).find("rotary_base") != std::string::npos);
}
