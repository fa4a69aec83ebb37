#include "sim/step_fit.hpp"

#include "sim/step_cost.hpp"
#include "tests/catch.hpp"
#include "tests/sim/shared_data.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

namespace runflat::sim {
namespace {

StepTable published(const char* name) {
  return read_step_table(std::filesystem::path(RUNFLAT_SOURCE_DIR) / "tests" / "golden" / name);
}

/// Both published tables of the A100, as if measured with these numbers.
StepTable predicted_with(HardwareSet& truth) {
  StepTable table = published("sc21_table1.csv");
  const StepTable more = published("korthikanti_table5.csv");
  table.steps.insert(table.steps.end(), more.steps.begin(), more.steps.end());
  for (MeasuredStep& step : table.steps) {
    const HardwareParameters* on = truth.find({step.gpu, step.release});
    step.seconds = step_cost(step.model, step.query, *on)->step_time.count();
  }
  return table;
}

double after(const std::vector<FittedValue>& numbers, const std::string& key) {
  const auto found = std::find_if(numbers.begin(), numbers.end(), [&](const FittedValue& value) {
    return value.number.key == key;
  });
  REQUIRE(found != numbers.end());
  return found->after;
}

TEST_CASE("a fit recovers the numbers that made the steps", "[sim][validation][fit]") {
  HardwareSet truth;
  (void)truth.find({"a100", "megatron-2021"});
  (void)truth.find({"a100", "megatron-2022"});
  truth.set({"a100", "gemm.efficiency"}, 0.62);
  truth.set({"a100", "streaming.efficiency"}, 0.8);
  truth.set({"a100", "network.efficiency"}, 0.7);
  truth.set({"a100", "network.whole_efficiency"}, 0.6);
  StepTable table = predicted_with(truth);
  HardwareSet hardware;
  const std::vector<FittedValue> numbers = fit_steps(table.steps, hardware);
  CHECK(after(numbers, "gemm.efficiency") == Approx(0.62).epsilon(1e-3));
  CHECK(after(numbers, "streaming.efficiency") == Approx(0.8).epsilon(1e-3));
  CHECK(after(numbers, "network.efficiency") == Approx(0.7).epsilon(1e-3));
  CHECK(after(numbers, "network.whole_efficiency") == Approx(0.6).epsilon(1e-3));
  CHECK(hardware.number({"a100", "gemm.efficiency"}).value == after(numbers, "gemm.efficiency"));
  // What was fitted to steps of the same law predicts steps of a model it never saw.
  const CrossValidation result = cross_validate(table, GroupKey::model);
  CHECK(result.left_out.predicted.size() + result.left_out.skipped.size() == table.steps.size());
  for (const PredictedStep& row : result.left_out.predicted) {
    CHECK(std::abs(row.error()) < 2e-3);
  }
}

TEST_CASE("the shipped numbers are those that the fit to all measured rows gives",
          "[sim][validation][fit]") {
  const auto multi = find_shared("data/groundtruth/steptime.csv");
  const auto single = find_shared("data/groundtruth/vtrain_a100_single.csv");
  if (!multi || !single) {
    WARN("the measured tables are not on this machine");
    return;
  }
  const StepTable table = read_step_tables({*multi, *single});
  const Validation shipped = validate(table);
  HardwareSet hardware;
  const std::vector<FittedValue> numbers = fit_steps(table.steps, hardware);
  CHECK(numbers.size() == 15);  // 8 of the A100, 7 of the H100
  const Validation fitted = validate(table, hardware);
  REQUIRE(fitted.predicted.size() == shipped.predicted.size());
  for (std::size_t r = 0; r < fitted.predicted.size(); ++r) {
    // Steps of one configuration differ by 2 % from run to run.
    CHECK(fitted.predicted[r].seconds == Approx(shipped.predicted[r].seconds).epsilon(0.02));
  }
}

TEST_CASE("a row's own time does not move its left-out prediction", "[sim][validation][fit]") {
  StepTable table = published("korthikanti_table5.csv");
  const auto left_out = [&](const std::string& id) {
    const CrossValidation result = cross_validate(table, GroupKey::model);
    const std::vector<PredictedStep>& rows = result.left_out.predicted;
    const auto row = std::find_if(
        rows.begin(), rows.end(), [&](const PredictedStep& r) { return r.measured.id == id; });
    REQUIRE(row != rows.end());
    return row->seconds;
  };
  const std::string id = table.steps[0].id;
  const double before = left_out(id);
  for (MeasuredStep& step : table.steps) {
    step.seconds *= step.model == table.steps[0].model ? 3.0 : 1.0;
  }
  CHECK(left_out(id) == before);
}

TEST_CASE("folds of models go by shape, and every row is predicted once or listed",
          "[sim][validation][fit]") {
  StepTable table = published("sc21_table1.csv");
  const CrossValidation named = cross_validate(table, GroupKey::model);
  CHECK(named.num_folds == table.steps.size());  // ten models
  table.steps.push_back(table.steps[0]);
  table.steps.back().model_name = "the same by another name";
  table.steps.back().id = "again";
  const CrossValidation result = cross_validate(table, GroupKey::model);
  CHECK(result.num_folds == named.num_folds);
  CHECK(result.left_out.predicted.size() + result.left_out.skipped.size() == table.steps.size());
}

TEST_CASE("rows that nothing else can speak for are listed", "[sim][validation][fit]") {
  StepTable table = published("sc21_table1.csv");
  table.steps[0].release = "megatron-deepspeed";  // the only row with its host numbers
  const CrossValidation result = cross_validate(table, GroupKey::framework);
  const auto skipped = std::find_if(
      result.left_out.skipped.begin(), result.left_out.skipped.end(), [&](const SkippedStep& row) {
        return row.id == table.steps[0].id;
      });
  REQUIRE(skipped != result.left_out.skipped.end());
  CHECK(skipped->reason.find("a100_megatron-deepspeed") != std::string::npos);
}

}  // namespace
}  // namespace runflat::sim
