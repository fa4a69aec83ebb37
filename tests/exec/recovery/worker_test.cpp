#include "exec/recovery/worker.hpp"

#include "tests/catch.hpp"
#include "tests/exec/recovery_jobs.hpp"
#include "tests/exec/temporary_directory.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace runflat::tests;

namespace {

std::vector<InjectedFault> parsed(const std::vector<std::string>& texts) {
  std::vector<InjectedFault> faults;
  for (const std::string& text : texts) {
    faults.push_back(parse_fault(text));
  }
  return faults;
}

/// The largest relative difference of losses, over the steps that the run has taken.
double worst_difference(const JobOutcome& run, const JobOutcome& calm) {
  double worst = 0.0;
  for (const auto& [step, loss] : run.losses) {
    worst = std::max(worst, std::abs(loss / calm.losses.at(step) - 1.0));
  }
  return worst;
}

constexpr std::int64_t kSteps = 16;  // who comes back has the time to

struct Trial {
  std::string name;
  LayoutCase layout;
  std::vector<std::string> faults;
  std::int64_t num_members_at_end = 0;  ///< workers of the last transition
};

}  // namespace

TEST_CASE("a job survives what its state survives", "[exec][worker]") {
  const LayoutCase tp2dp2{.name = "TP2 DP2", .sizes = {.tp = 2, .dp = 2}};
  const LayoutCase zero{
      .name = "TP2 DP3 ZeRO-1", .sizes = {.tp = 2, .dp = 3}, .zero_stage = 1, .redundancy = true};
  const LayoutCase spared{
      .name = "TP2 DP2, one spare", .sizes = {.tp = 2, .dp = 2}, .num_spare_domains = 1};
  const LayoutCase dropping{
      .name = "TP2 DP2, dp_drop", .sizes = {.tp = 2, .dp = 2}, .policy = "dp_drop"};
  const LayoutCase deep{.name = "TP2 PP2 DP2", .sizes = {.tp = 2, .dp = 2, .pp = 2}};
  const std::vector<Trial> trials = {
      {"a rank rejoins", tp2dp2, {"kill rank=3 step=2 at=op index=4 repair_steps=2"}, 4},
      {"a whole replica is lost",
       tp2dp2,
       {"kill rank=2 step=3 at=op index=1", "kill rank=3 step=3 at=op index=1"},
       2},
      {"a whole replica is lost and comes back",
       tp2dp2,
       {"kill rank=2 step=2 at=op index=1 repair_steps=1",
        "kill rank=3 step=2 at=op index=1 repair_steps=3"},
       4},
      {"three of four die one after another",
       tp2dp2,
       {"kill rank=0 step=2", "kill rank=3 step=4 at=update", "kill rank=1 step=6 at=distribute"},
       1},
      {"a second one dies while the first is being replaced, before connecting",
       zero,
       {"kill rank=1 step=3 at=decision", "kill rank=4 step=3 at=agreed"},
       4},
      {"when connected",
       zero,
       {"kill rank=0 step=3 at=decision", "kill rank=5 step=3 at=connected"},
       4},
      {"when the state has moved",
       zero,
       {"kill rank=0 step=3 at=decision", "kill rank=5 step=3 at=moved"},
       4},
      {"before the barrier",
       zero,
       {"kill rank=2 step=3 at=decision", "kill rank=1 step=3 at=distributed"},
       4},
      {"after the barrier",
       zero,
       {"kill rank=2 step=3 at=decision", "kill rank=1 step=3 at=carried_out"},
       4},
      {"a newcomer dies while it joins",
       zero,
       {"kill rank=3 step=2 repair_steps=2", "kill rank=3 step=2 at=connected"},
       5},
      {"a stage of a replica is lost: its other stage stands by",
       deep,
       {"kill rank=4 step=3 at=op index=5", "kill rank=5 step=3 at=op index=5"},
       6},
      {"links break and nobody is lost", deep, {"drop_link rank=5 step=3 at=op index=5"}, 8},
      {"a rank hangs and is left out", tp2dp2, {"hang rank=1 step=3 at=op index=3 seconds=4"}, 3},
      {"a rank stops and rejoins", tp2dp2, {"stop rank=2 step=2 at=reduction repair_steps=1"}, 4},
      {"a message between stages is corrupt", deep, {"corrupt rank=2 step=3 at=operation"}, 8},
      {"the state arrives torn: a rank dies in the middle of the moves",
       zero,
       {"kill rank=4 step=3 at=end", "kill rank=1 step=3 at=operation index=60"},
       4},
      {"gradients are NaN once", tp2dp2, {"nan rank=3 step=3"}, 4},
      {"a spare domain takes over", spared, {"kill rank=3 step=2 at=update"}, 5},
      {"a spare domain takes over, and is lost too",
       spared,
       {"kill rank=3 step=2", "kill rank=5 step=4 at=decision"},
       4},
      {"a group comes back from the spare domain",
       spared,
       {"kill rank=1 step=2 at=op index=2 repair_steps=1"},
       6},
      {"both domains of a replica are lost in turn, and come back",
       spared,
       {"kill rank=3 step=2 repair_steps=3", "kill rank=4 step=3 repair_steps=1"},
       6},
      {"damage is left out until it is repaired",
       dropping,
       {"kill rank=1 step=3 at=op index=3 repair_steps=1"},
       4},
      {"damage beyond the spares is left out",
       {.name = "TP2 DP2, one spare, dp_drop",
        .sizes = {.tp = 2, .dp = 2},
        .num_spare_domains = 1,
        .policy = "dp_drop"},
       {"kill rank=1 step=2", "kill rank=2 step=4 at=update"},
       4},
  };
  for (const Trial& trial : trials) {
    const ModelSpec model = tiny_gpt();
    const MockDataset data = mock_data(model);
    LoopbackJob job = job_of(model, trial.layout, kSteps);
    CAPTURE(trial.name);
    const JobOutcome calm = run_loopback_job(job, data);
    job.faults = parsed(trial.faults);
    const JobOutcome run = run_loopback_job(job, data);
    CHECK(run.is_in_time);
    CHECK(run.end == WorkerEnd::finished);
    CHECK(run.losses.size() == kSteps);
    CHECK(run.faults.size() == trial.faults.size());
    CHECK(run.unequal_steps.empty());
    CHECK(worst_difference(run, calm) <= 1e-5);
    CHECK(std::ssize(run.recoveries.back().members) == trial.num_members_at_end);
  }
}

TEST_CASE("state that nobody holds any more ends the job, or starts it again", "[exec][worker]") {
  const ModelSpec model = tiny_llama();
  const MockDataset data = mock_data(model);
  const LayoutCase layout{.name = "DP2 ZeRO-1", .sizes = {.dp = 2}, .zero_stage = 1};
  LoopbackJob job = job_of(model, layout, 6);
  const JobOutcome calm = run_loopback_job(job, data);
  job.faults = parsed({"kill rank=1 step=4"});

  const JobOutcome stopped = run_loopback_job(job, data);
  CHECK(stopped.end == WorkerEnd::stopped);
  CHECK(stopped.reason.starts_with("no GPU that is left holds the optimizer state of elements"));
  CHECK(stopped.reason.ends_with("there is no checkpoint to load"));
  CHECK(stopped.losses.size() == 3);

  job.worker.recovery.may_restart = true;  // from the beginning: there is no restore()
  const JobOutcome again = run_loopback_job(job, data);
  CHECK(again.end == WorkerEnd::finished);
  CHECK(again.losses.size() == 6);
  CHECK(again.recoveries.back().rung == Rung::checkpoint);
  CHECK(worst_difference(again, calm) <= 1e-5);
}

TEST_CASE("state that nobody holds any more comes from the last checkpoint", "[exec][worker]") {
  const ModelSpec model = tiny_llama();
  const MockDataset data = mock_data(model);
  const LayoutCase layout{.name = "TP2 DP2 ZeRO-1", .sizes = {.tp = 2, .dp = 2}, .zero_stage = 1};
  LoopbackJob job = job_of(model, layout, 8);
  const JobOutcome calm = run_loopback_job(job, data);
  const TemporaryDirectory folder(memory_folder());
  job.checkpoints = folder.path();
  job.save_interval = 2;
  job.worker.recovery.may_restart = true;
  job.faults = parsed({"kill rank=1 step=6 at=update"});
  const JobOutcome run = run_loopback_job(job, data);
  CHECK(run.end == WorkerEnd::finished);
  CHECK(run.recoveries.back().rung == Rung::checkpoint);
  // Step 6 was decided, so that it is committed; the checkpoint is of step 4.
  CHECK(run.recoveries.back().at_step == 6);
  CHECK(run.losses.size() == 8);
  CHECK(worst_difference(run, calm) <= 1e-5);
  CHECK(std::filesystem::exists(folder.path() / "step_00000008" / "index.json"));
}

TEST_CASE("a job whose workers are all lost does not begin again by itself", "[exec][worker]") {
  const ModelSpec model = tiny_llama();
  const MockDataset data = mock_data(model);
  LoopbackJob job = job_of(model, {.name = "DP2", .sizes = {.dp = 2}}, 6);
  job.faults = parsed({"kill rank=0 step=3 at=op index=1 repair_steps=1",
                       "kill rank=1 step=3 at=op index=1 repair_steps=1"});
  const JobOutcome run = run_loopback_job(job, data);
  CHECK(run.end == WorkerEnd::stopped);
  CHECK(run.reason ==
        "nobody is left who holds the state of the job; there is no checkpoint to load");
  CHECK(run.losses.size() == 2);
}

TEST_CASE("a rank that is lost before the first step is not waited for", "[exec][worker]") {
  const ModelSpec model = tiny_llama();
  const MockDataset data = mock_data(model);
  LoopbackJob job = job_of(model, {.name = "TP2 DP2", .sizes = {.tp = 2, .dp = 2}}, 4);
  job.faults = parsed({"kill rank=2 step=1 at=operation"});
  const JobOutcome run = run_loopback_job(job, data);
  CHECK(run.end == WorkerEnd::finished);
  CHECK(run.losses.size() == 4);
  CHECK(run.recoveries.back().members == std::vector<std::int64_t>{0, 1, 3});
}

TEST_CASE("gradients that stay NaN stop the job and name the step", "[exec][worker]") {
  const ModelSpec model = tiny_llama();
  const MockDataset data = mock_data(model);
  LoopbackJob job = job_of(model, {.name = "DP2", .sizes = {.dp = 2}}, 6);
  job.faults = parsed({"nan rank=0 step=3", "nan rank=0 step=3", "nan rank=1 step=3"});
  job.worker.most_refusals = 1;
  const JobOutcome run = run_loopback_job(job, data);
  CHECK(run.end == WorkerEnd::stopped);
  CHECK(run.reason ==
        "step 3: the sums are not finite, 1 times in a row; the weights are those of step 2");
  CHECK(run.losses.size() == 2);
}

TEST_CASE("a job whose plan has lost every replica stops and says so", "[exec][worker]") {
  const ModelSpec model = tiny_llama();
  const MockDataset data = mock_data(model);
  LoopbackJob job = job_of(model, {.name = "PP2", .sizes = {.pp = 2}}, 6);
  job.faults = parsed({"kill rank=1 step=2"});
  const JobOutcome run = run_loopback_job(job, data);
  CHECK(run.end == WorkerEnd::stopped);
  CHECK(run.reason == "no replica can go on: 1 of 2 TP groups have lost GPUs; repair GPUs");
}

TEST_CASE("a job waits for the GPUs that its policy cannot do without", "[exec][worker]") {
  const ModelSpec model = tiny_llama();
  const MockDataset data = mock_data(model);
  LoopbackJob job = job_of(model,
                           {.name = "TP2 DP2, one spare, spare_domain",
                            .sizes = {.tp = 2, .dp = 2},
                            .num_spare_domains = 1,
                            .policy = "spare_domain"},
                           6);
  const JobOutcome calm = run_loopback_job(job, data);

  // The second one that dies has no spare domain, and comes back while the others wait.
  job.worker.recovery.wait_for_spare = std::chrono::seconds(20);
  job.faults = parsed({"kill rank=3 step=2", "kill rank=0 step=4 at=update repair_steps=100"});
  const JobOutcome waited = run_loopback_job(job, data);
  CHECK(waited.end == WorkerEnd::finished);
  CHECK(waited.losses.size() == 6);
  CHECK(waited.unequal_steps.empty());
  CHECK(worst_difference(waited, calm) <= 1e-5);
  CHECK(waited.recoveries.back().rung == Rung::in_place);
  CHECK(waited.recoveries.back().at_step == 4);  // it was decided

  job.worker.recovery.wait_for_spare = std::chrono::milliseconds(300);
  job.faults = parsed({"kill rank=3 step=2", "kill rank=0 step=4"});
  const JobOutcome stopped = run_loopback_job(job, data);
  CHECK(stopped.is_in_time);
  CHECK(stopped.end == WorkerEnd::stopped);
  CHECK(stopped.reason.starts_with("1 of 2 TP groups have lost GPUs, and no spare domain"));
  CHECK(stopped.reason.ends_with("waited 0.3 s for workers to join"));
  CHECK(stopped.losses.size() == 3);
}
