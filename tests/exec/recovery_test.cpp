#include "exec/recovery.hpp"

#include "exec/loopback_job.hpp"
#include "exec/mock_dataset.hpp"
#include "tests/catch.hpp"
#include "tests/exec/training_run.hpp"

#include <cmath>
#include <map>

using namespace runflat;
using namespace runflat::exec;
using namespace runflat::tests;
using namespace std::chrono_literals;

namespace {

MockDataset data_of(const ModelSpec& model) {
  return MockDataset({.seq_length = model.seq_length,
                      .num_samples = 1 << 20,
                      .vocab_size = model.padded_vocab_size,
                      .seed = 7});
}

}  // namespace

TEST_CASE("a job without faults trains as ever", "[exec][recovery]") {
  const ModelSpec model = tiny_llama();
  const LayoutCase layout{.name = "TP2 DP2", .sizes = {.tp = 2, .dp = 2}};
  const Plan plan = plan_of(model, layout);
  LoopbackJob job{.worker = {.plan = plan, .trainer = config_of(layout), .num_steps = 6},
                  .replan = [&](const Plan&, const Health& health) {
                    return replan_in_place(plan, health);
                  }};
  const MockDataset data(
      {.seq_length = model.seq_length, .num_samples = 1 << 20, .vocab_size = model.padded_vocab_size, .seed = 7});
  const JobOutcome calm = run_loopback_job(job, data);
  CHECK(calm.end == WorkerEnd::finished);
  CHECK(calm.losses.size() == 6);
  CHECK(calm.unequal_steps.empty());
  job.faults = {parse_fault("kill rank=3 step=3 at=op index=2")};
  const JobOutcome outcome = run_loopback_job(job, data);
  CHECK(outcome.end == WorkerEnd::finished);
  for (const auto& record : outcome.recoveries) {
    WARN(record.generation << " " << record.reason << " step " << record.at_step << " noticed, agreed " << record.agreed << " conn " << record.connected << " moved " << record.moved << " done " << record.carried_out);
  }
  for (const auto& [step, loss] : calm.losses) {
    CHECK(std::abs(outcome.losses.at(step) / loss - 1) < 1e-5);
  }
}
