#include "exec/recovery/recovery.hpp"

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

namespace {

/// A job of TP2 x DP2 in which all trained under agreement 0 until step `steps`.
struct Ladder {
  LoopbackJob job = job_of(tiny_llama(), {.name = "TP2 DP2", .sizes = {.tp = 2, .dp = 2}}, 100);
  Agreement base;
  Situation situation;

  Ladder() {
    base.generation = 0;
    base.plan = job.worker.plan;
    situation.generation = 1;
    situation.has_begun = true;
    situation.num_steps = 100;
    for (std::int64_t process = 0; process < 4; ++process) {
      base.members.push_back({process, 1});
      Standing standing;
      standing.member = {process, 1};
      standing.generation = 0;
      standing.progress = {.steps = 7, .consumed_samples = 84};
      standing.decision = {.step = 7, .squared_sum = 1.0, .tokens = 2.0, .loss = 3.0};
      situation.standings.push_back(standing);
    }
    situation.previous = base;
  }

  [[nodiscard]] Agreement decide() const {
    return decide_recovery(situation,
                           job.worker.recovery,
                           job.worker.trainer,
                           job.worker.plan,
                           job.replan,
                           [&](std::int64_t generation) {
                             REQUIRE(generation == 0);
                             return base;
                           });
  }
  void fail_attempt(Rung rung, std::int64_t attempt) {
    Agreement failed = base;
    failed.generation = situation.generation;
    failed.rung = rung;
    failed.attempt = attempt;
    situation.previous = failed;
    ++situation.generation;
  }
};

}  // namespace

TEST_CASE("survivors go on from the last step that any of them saw decided", "[exec][recovery]") {
  Ladder ladder;
  ladder.situation.standings.pop_back();
  CHECK(ladder.decide().progress == Progress{.steps = 7, .consumed_samples = 84});

  // One has the decision of step 8, and no update; the others have not even the decision.
  ladder.situation.standings[1].decision = {.step = 8, .loss = 4.0};
  const Agreement decided = ladder.decide();
  CHECK(decided.progress == Progress{.steps = 8, .consumed_samples = 84 + kGlobalBatchSize});
  CHECK(decided.decision == ladder.situation.standings[1].decision);
  CHECK(decided.holders == std::vector<std::int64_t>{0, 1, 2});

  // One has taken it.
  ladder.situation.standings[1].progress = {.steps = 8, .consumed_samples = 96};
  CHECK(ladder.decide().progress == Progress{.steps = 8, .consumed_samples = 96});
}

TEST_CASE("a plan that one has carried out has been carried out by all", "[exec][recovery]") {
  // Agreement 0 is over: one worker came through its barrier, two only entered it.
  Ladder ladder;
  ladder.situation.standings.pop_back();
  for (const std::size_t i : {std::size_t{0}, std::size_t{2}}) {
    ladder.situation.standings[i].generation = -1;
    ladder.situation.standings[i].next_generation = 0;
    ladder.situation.standings[i].next_progress = {.steps = 7, .consumed_samples = 84};
  }
  const Agreement agreement = ladder.decide();
  CHECK(agreement.base_generation == 0);
  CHECK(agreement.holders == std::vector<std::int64_t>{0, 1, 2});
}

TEST_CASE("the ladder: in place, from a checkpoint, stop", "[exec][recovery]") {
  Ladder ladder;
  ladder.situation.standings.pop_back();
  ladder.job.worker.recovery.most_attempts = 2;
  ladder.job.worker.recovery.most_checkpoint_attempts = 1;
  ladder.job.worker.recovery.may_restart = true;
  const Agreement first = ladder.decide();
  CHECK(first.rung == Rung::in_place);
  CHECK(first.attempt == 1);
  CHECK(first.reason == "lost 3");
  ladder.fail_attempt(Rung::in_place, 1);
  CHECK(ladder.decide().attempt == 2);
  ladder.fail_attempt(Rung::in_place, 2);
  const Agreement again = ladder.decide();
  CHECK(again.rung == Rung::checkpoint);
  CHECK(again.reason.starts_with("2 attempts to go on in place failed"));
  ladder.fail_attempt(Rung::checkpoint, 1);
  const Agreement stop = ladder.decide();
  CHECK(stop.rung == Rung::stop);
  CHECK_FALSE(stop.plan);
}

TEST_CASE("attempts in place have a deadline", "[exec][recovery]") {
  Ladder ladder;
  ladder.situation.standings.pop_back();
  ladder.fail_attempt(Rung::in_place, 1);
  ladder.situation.standings[0].seconds = 61.0;
  const Agreement agreement = ladder.decide();
  CHECK(agreement.rung == Rung::stop);
  CHECK(agreement.reason ==
        "1 attempts to go on in place failed in 61.0 s; there is no checkpoint to load");
}

TEST_CASE("a job that no plan is possible for waits, then stops", "[exec][recovery]") {
  Ladder ladder;
  ladder.job.replan = [](const Plan&, const Health&) -> Expected<Plan, Infeasible> {
    return Infeasible{"too few"};
  };
  ladder.situation.standings.pop_back();
  ladder.situation.standings[1].decision = {.step = 8, .loss = 4.0};
  CHECK(ladder.decide().rung == Rung::stop);
  CHECK(ladder.decide().reason == "too few");

  ladder.job.worker.recovery.wait_for_spare = std::chrono::milliseconds(1500);
  const Agreement wait = ladder.decide();
  CHECK(wait.rung == Rung::wait);
  CHECK_FALSE(wait.plan);
  CHECK(wait.progress.steps == 8);  // what was decided is taken before
  CHECK(wait.holders == std::vector<std::int64_t>{0, 1, 2});
  const Value value = to_value(wait);
  CHECK(read_agreement(Reader(value, "agreement")) == wait);

  // The one that has waited longest counts.
  ladder.situation.standings[2].waited = 1.5;
  const Agreement stop = ladder.decide();
  CHECK(stop.rung == Rung::stop);
  CHECK(stop.reason == "too few; waited 1.5 s for workers to join");
}

TEST_CASE("who neither trains nor holds state takes no part in a transition", "[exec][recovery]") {
  const LayoutCase layout{.name = "", .sizes = {.tp = 2, .dp = 2}, .num_spare_domains = 2};
  Agreement agreement;
  agreement.plan = plan_of(tiny_llama(), layout);
  for (std::int64_t process = 0; process < 8; ++process) {
    agreement.members.push_back({process, 1});
  }
  using Processes = std::vector<std::int64_t>;
  CHECK(processes_of(*agreement.plan) == Processes{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(processes_of(participants_of(agreement)) == Processes{0, 1, 2, 3});

  agreement.plan = replan_in_place(*agreement.plan, Health({GpuId(3)})).value();
  std::erase(agreement.members, Member{3, 1});
  agreement.holders = {0, 1, 2};
  CHECK(processes_of(trainers_of(agreement)) == Processes{0, 1, 4, 5});
  CHECK(processes_of(participants_of(agreement)) == Processes{0, 1, 2, 4, 5});

  agreement.plan.reset();
  CHECK(participants_of(agreement) == agreement.members);
}

TEST_CASE("a job that has taken its steps is over, whoever is lost", "[exec][recovery]") {
  Ladder ladder;
  ladder.situation.num_steps = 7;
  ladder.situation.standings.resize(1);
  ladder.situation.standings[0].is_over = true;
  CHECK(ladder.decide().rung == Rung::finish);
}
