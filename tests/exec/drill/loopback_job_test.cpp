#include "exec/drill/loopback_job.hpp"

#include "core/document.hpp"
#include "core/random_fault.hpp"
#include "core/reader.hpp"
#include "sim/injected_trace.hpp"
#include "tests/catch.hpp"
#include "tests/exec/recovery_jobs.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <ostream>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace runflat::tests;

namespace {

using GpusDown = std::vector<std::int64_t>;

/// At which step which GPUs are down.
struct Loss {
  std::int64_t step = 0;
  GpusDown down;

  friend bool operator==(const Loss&, const Loss&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Loss& loss) {
    return out << fmt::format("step {}: {}", loss.step, loss.down);
  }
};

void append(std::vector<Loss>& sequence, std::int64_t step, const GpusDown& down) {
  if (sequence.empty() ? !down.empty() : sequence.back().down != down) {
    sequence.push_back({step, down});
  }
}

std::int64_t last_step(const JobOutcome& outcome) {
  return outcome.losses.empty() ? 0 : outcome.losses.rbegin()->first;
}

/// Who is missing in which step of a run.
std::vector<Loss> in_executor(const JobOutcome& outcome) {
  std::vector<Loss> sequence;
  for (const PlanSpan& span : outcome.spans) {
    if (span.steps >= last_step(outcome)) {
      break;
    }
    GpusDown down;
    for (const GpuId gpu : span.plan.failed) {
      down.push_back(gpu.value());
    }
    append(sequence, span.steps + 1, down);
  }
  return sequence;
}

/// Who is down in the middle of each step in the simulator.
std::vector<Loss> in_simulator(const LoopbackJob& job, std::int64_t num_steps) {
  const auto num_gpus = static_cast<std::int32_t>(job.worker.plan.cluster.num_gpus());
  const Seconds step_time(8.0);
  const sim::FaultTrace trace =
      sim::injected_trace(job.faults,
                          {.num_nodes = 1, .gpus_per_node = num_gpus, .domain_size = num_gpus},
                          {.step_time = step_time, .detect_hang = Seconds(job.worker.patience)});
  std::vector<Loss> sequence;
  for (std::int64_t step = 1; step <= num_steps; ++step) {
    const auto middle = sim::to_sim_time((static_cast<double>(step) - 0.5) * step_time);
    GpusDown down;
    for (const sim::Fault& fault : trace.faults) {
      if (fault.begin <= middle && middle < fault.end) {
        down.push_back(fault.component);
      }
    }
    std::sort(down.begin(), down.end());
    append(sequence, step, down);
  }
  return sequence;
}

/// TP2 x DP3, whose workers wait for one that is slow, but not for one that is dead.
LoopbackJob patient_job(std::int64_t num_steps) {
  LoopbackJob job = job_of(tiny_gpt(), {.name = "TP2 DP3", .sizes = {.tp = 2, .dp = 3}}, num_steps);
  job.worker.trainer.timeout = std::chrono::seconds(20);
  job.worker.patience = std::chrono::seconds(20);
  return job;
}

/// Random faults after which nobody comes back, and whose step a run knows beforehand: operations
/// that every rank of every plan has, no hang that may be too short, no message that may be of a
/// later step; where one waits for a transition, none that is in the next step by then.
std::vector<InjectedFault> random_losses(std::uint64_t seed, const FaultRange& range) {
  std::vector<InjectedFault> faults;
  for (std::int64_t i = 0; i < 4; ++i) {
    InjectedFault fault = random_fault(seed, i, range);
    fault.repair_steps = 0;
    fault.index = fault.place == FaultPlace::operation ? 0 : fault.index;
    if (fault.kind != FaultKind::hang && fault.kind != FaultKind::corrupt) {
      faults.push_back(fault);
    }
  }
  const bool has_waiting = std::any_of(faults.begin(), faults.end(), [](const auto& fault) {
    return is_in_transition(fault.place);
  });
  const bool has_refused = std::any_of(
      faults.begin(), faults.end(), [](const auto& fault) { return fault.kind == FaultKind::nan; });
  if (has_waiting || has_refused) {
    for (InjectedFault& fault : faults) {
      fault.place = fault.place <= FaultPlace::end ? FaultPlace::op : fault.place;
    }
  }
  return faults;
}

std::vector<std::string> texts_of(const std::vector<InjectedFault>& faults) {
  std::vector<std::string> texts;
  for (const InjectedFault& fault : faults) {
    texts.push_back(to_text(fault));
  }
  return texts;
}

}  // namespace

TEST_CASE("random faults take the same GPUs at the same steps in the simulator and in a run",
          "[exec][drill]") {
  constexpr std::int64_t kSteps = 8;
  const MockDataset data = mock_data(tiny_gpt());
  LoopbackJob job = patient_job(kSteps);
  // Fewer operations than a step has, so that none strikes in a later one.
  const FaultRange range{.num_ranks = 6, .num_steps = kSteps, .num_ops = 4};
  std::int64_t num_lost = 0;
  for (std::uint64_t seed = 1; seed <= 15; ++seed) {
    job.faults = random_losses(seed, range);
    CAPTURE(texts_of(job.faults));
    const JobOutcome outcome = run_loopback_job(job, data);
    REQUIRE(outcome.is_in_time);
    CHECK(in_executor(outcome) == in_simulator(job, last_step(outcome)));
    num_lost += std::ssize(in_executor(outcome));
  }
  CHECK(num_lost > 15);
}

TEST_CASE("a file of faults takes and gives back the same GPUs in the simulator and in a run",
          "[exec][drill]") {
  const Value file = parse_toml(R"(
schema = 1
fault = [
  { kind = "kill", rank = 5, step = 3, at = "decision", repair_steps = 3 },
  { kind = "slow", rank = 0, step = 7, seconds = 0.4 },
  { kind = "slow", rank = 0, step = 9, seconds = 0.4 },
  { kind = "hang", rank = 2, step = 12, seconds = 1e6, repair_steps = 0 },
  { kind = "drop_link", rank = 3, step = 14 },
  { kind = "kill", rank = 1, step = 13, at = "moved" },
  { kind = "nan", rank = 4, step = 15 },
])",
                                "faults.toml");
  LoopbackJob job = patient_job(16);
  job.faults = read_faults(Reader(file, "faults.toml"));
  job.worker.trainer.timeout = std::chrono::milliseconds(1500);
  job.worker.patience = std::chrono::milliseconds(500);
  const JobOutcome outcome = run_loopback_job(job, mock_data(tiny_gpt()));
  CHECK(outcome.end == WorkerEnd::finished);
  const std::vector<Loss> run = in_executor(outcome);
  const std::vector<Loss> simulated = in_simulator(job, 16);
  REQUIRE(simulated.size() == 4);
  REQUIRE(run.size() == 4);
  CHECK(run[0] == simulated[0]);
  // A run lets a process in at the end of the first step in which somebody has seen it.
  CHECK(run[1].down == simulated[1].down);
  CHECK(run[1].step >= simulated[1].step);
  CHECK(run[2] == simulated[2]);
  CHECK(run[3] == simulated[3]);
}

TEST_CASE("a fault with a time strikes at the first moment at or after it", "[exec][drill]") {
  const MockDataset data = mock_data(tiny_gpt());
  LoopbackJob job = patient_job(6);
  job.faults = {parse_fault("kill rank=1 time_s=0"),
                parse_fault("slow rank=0 step=4 seconds=0.5"),
                parse_fault("kill rank=3 time_s=0.4 at=operation"),
                parse_fault("kill rank=5 time_s=1e6")};
  const JobOutcome outcome = run_loopback_job(job, data);
  CHECK(outcome.end == WorkerEnd::finished);
  CHECK(outcome.faults.size() == 3);
  const std::vector<Loss> run = in_executor(outcome);
  REQUIRE(run.size() == 2);
  CHECK(run[0] == Loss{1, {1}});
  // At the latest by the first operation after the slow step: what it waits for then is queued.
  CHECK(run[1].down == GpusDown{1, 3});
  CHECK(run[1].step <= 5);
}
