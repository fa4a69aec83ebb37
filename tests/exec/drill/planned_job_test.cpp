#include "exec/drill/planned_job.hpp"

#include "core/replan.hpp"
#include "tests/catch.hpp"
#include "tests/exec/recovery_jobs.hpp"
#include "tests/exec/training_run.hpp"

#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace runflat::tests;

namespace {

Plan without(const Plan& whole, std::vector<GpuId> gpus) {
  return replan_in_place(whole, Health(std::move(gpus))).value();
}

}  // namespace

TEST_CASE("spans leave out plans under which no step is taken", "[exec][drill]") {
  const Plan whole = plan_of(tiny_llama(), {.name = "TP2 DP2", .sizes = {.tp = 2, .dp = 2}});
  const Plan three = without(whole, {GpuId(3)});
  const Plan two = without(whole, {GpuId(1), GpuId(3)});
  const auto spans_of = [](const PlanSpans& all) {
    PlanSpans spans;
    for (const PlanSpan& span : all) {
      append_span(spans, span);
    }
    return spans;
  };
  CHECK(spans_of({{0, whole}, {4, three}, {4, two}}) == PlanSpans{{0, whole}, {4, two}});
  CHECK(spans_of({{0, whole}, {4, whole}, {5, three}}) == PlanSpans{{0, whole}, {5, three}});
  CHECK(spans_of({{0, whole}, {4, three}, {4, whole}}) == PlanSpans{{0, whole}});
  CHECK(spans_of({{0, whole}, {4, three}, {0, two}}) == PlanSpans{{0, two}});
}

TEST_CASE("a job whose GPUs leave and come back by plan has the losses of one that keeps them",
          "[exec][drill]") {
  for (const LayoutCase& layout : {LayoutCase{.name = "TP2 DP2", .sizes = {.tp = 2, .dp = 2}},
                                   LayoutCase{.name = "PP2 DP3 ZeRO-1",
                                   .sizes = {.dp = 3, .pp = 2},
                                   .zero_stage = 1,
                                   .redundancy = true}}) {
    CAPTURE(layout.name);
    const ModelSpec model = tiny_gpt();
    const Plan whole = plan_of(model, layout);
    const TrainerConfig config = config_of(layout);
    const MockDataset data = mock_data(model);
    const TrainingRun calm = train(whole, config, 5);
    const GpuId last = whole.layout.gpu_of(Rank(whole.layout.num_ranks() - 1));
    const Plan damaged = without(whole, {last});
    // They part after step 1, after step 3, and at the beginning.
    const std::vector<PlanSpans> jobs = {{{0, whole}},
                                         {{0, whole}, {3, damaged}},
                                         {{0, whole}, {1, damaged}, {3, whole}},
                                         {{0, whole}, {1, damaged}},
                                         {{0, damaged}, {4, whole}}};
    const std::vector<Losses> losses = run_planned_jobs(jobs, config, 5, data);
    REQUIRE(losses.size() == jobs.size());
    for (std::size_t step = 0; step < calm.losses.size(); ++step) {
      CHECK(losses[0].at(static_cast<std::int64_t>(step) + 1) == calm.losses[step]);
    }
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      CAPTURE(i);
      REQUIRE(losses[i].size() == 5);
      for (std::int64_t step = 1; step <= 5; ++step) {
        const double loss = calm.losses[static_cast<std::size_t>(step - 1)];
        CHECK(losses[i].at(step) == Approx(loss).epsilon(1e-5));
      }
      CHECK(losses[i] == run_planned_jobs({jobs[i]}, config, 5, data).front());
    }
    CHECK(losses[2].at(3) == losses[3].at(3));
  }
}
