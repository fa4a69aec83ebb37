#include "exec/recovery.hpp"

#include "tests/catch.hpp"
#include "tests/exec/recovery_jobs.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace runflat::tests;

namespace {

/// Runs the job with the faults; it finishes with the losses of the calm run.
JobOutcome check_recovery(LoopbackJob job,
                          const JobOutcome& calm,
                          const std::vector<std::string>& faults,
                          const MockDataset& data) {
  CAPTURE(faults);
  job.faults.clear();
  for (const std::string& fault : faults) {
    job.faults.push_back(parse_fault(fault));
  }
  JobOutcome outcome = run_loopback_job(job, data);
  CHECK(outcome.is_in_time);
  CHECK(outcome.end == WorkerEnd::finished);
  CHECK(outcome.unequal_steps.empty());
  CHECK(outcome.losses.size() == calm.losses.size());
  double worst = 0.0;
  for (const auto& [step, loss] : outcome.losses) {
    worst = std::max(worst, std::abs(loss / calm.losses.at(step) - 1.0));
  }
  CHECK(worst <= 1e-5);
  return outcome;
}

std::int64_t last_generation(const JobOutcome& outcome) {
  return outcome.recoveries.back().generation;
}

}  // namespace

TEST_CASE("a rank that dies at any point of a step costs no step", "[exec][recovery]") {
  const std::vector<LayoutCase> layouts = {
      {.name = "TP2 DP2", .sizes = {.tp = 2, .dp = 2}},
      {.name = "DP3 ZeRO-1", .sizes = {.dp = 3}, .zero_stage = 1, .redundancy = true},
      {.name = "TP2 PP2 DP2 ZeRO-1",
       .sizes = {.tp = 2, .dp = 2, .pp = 2},
       .zero_stage = 1,
       .redundancy = true},
      {.name = "TP3 + TP2 SP ZeRO-1",
       .sizes = {.tp = 3, .dp = 2},
       .inactive = {{.cell = {.dp = DpRank(1), .cp = CpRank(0), .pp = PpRank(0)}, .slots = {0}}},
       .shares = {7, 5},
       .zero_stage = 1,
       .sequence_parallel = true,
       .redundancy = true},
  };
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    const ModelSpec model = i % 2 == 0 ? tiny_gpt() : tiny_llama();
    const MockDataset data = mock_data(model);
    const LoopbackJob job = job_of(model, layouts[i], 4);
    CAPTURE(model.name, layouts[i].name);
    const JobOutcome calm = run_loopback_job(job, data);
    REQUIRE(calm.end == WorkerEnd::finished);
    std::vector<std::string> points;
    for (int op = 0; op < 12; op += 3) {
      points.push_back("op index=" + std::to_string(op));
    }
    for (int operation = 1; operation < 60; operation += 13) {
      points.push_back("operation index=" + std::to_string(operation));
    }
    for (const char* point : {"reduction", "decision", "update", "distribute", "end"}) {
      points.emplace_back(point);
    }
    for (std::size_t point = 0; point < points.size(); ++point) {
      const std::int64_t victim =
          job.worker.plan.layout
              .gpu_of(Rank(static_cast<std::int64_t>(
                  point % static_cast<std::size_t>(job.worker.plan.layout.num_ranks()))))
              .value();
      const JobOutcome outcome = check_recovery(
          job, calm, {"kill rank=" + std::to_string(victim) + " step=2 at=" + points[point]}, data);
      CHECK(last_generation(outcome) == 1);
      CHECK(outcome.recoveries.back().rung == Rung::in_place);
    }
  }
}
