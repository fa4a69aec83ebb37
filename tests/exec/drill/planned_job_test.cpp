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
  const auto spans_of = [](const std::vector<PlanSpan>& all) {
    std::vector<PlanSpan> spans;
    for (const PlanSpan& span : all) {
      append_span(spans, span);
    }
    return spans;
  };
  CHECK(spans_of({{0, whole}, {4, three}, {4, two}}) ==
        std::vector<PlanSpan>{{0, whole}, {4, two}});
  CHECK(spans_of({{0, whole}, {4, whole}, {5, three}}) ==
        std::vector<PlanSpan>{{0, whole}, {5, three}});
  CHECK(spans_of({{0, whole}, {4, three}, {4, whole}}) == std::vector<PlanSpan>{{0, whole}});
  CHECK(spans_of({{0, whole}, {4, three}, {0, two}}) == std::vector<PlanSpan>{{0, two}});
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
    const auto one = run_planned_job({{0, whole}}, config, 5, data);
    const auto three =
        run_planned_job({{0, whole}, {1, without(whole, {last})}, {3, whole}}, config, 5, data);
    REQUIRE((one.size() == 5 && three.size() == 5));
    for (std::int64_t step = 1; step <= 5; ++step) {
      const double loss = calm.losses[static_cast<std::size_t>(step - 1)];
      CHECK(one.at(step) == loss);
      CHECK(three.at(step) == Approx(loss).epsilon(1e-5));
    }
    CHECK(three.at(1) == one.at(1));
  }
}
