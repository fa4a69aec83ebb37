#include "sim/validation.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/sim/shared_data.hpp"

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

namespace runflat::sim {
namespace {

std::filesystem::path golden(const char* name) {
  return std::filesystem::path(RUNFLAT_SOURCE_DIR) / "tests" / "golden" / name;
}

std::vector<const PredictedStep*> rows_of(const Validation& validation) {
  std::vector<const PredictedStep*> rows;
  for (const PredictedStep& row : validation.predicted) {
    rows.push_back(&row);
  }
  return rows;
}

TEST_CASE("step times of SC21 Table 1 are within 5 % on average", "[sim][validation][golden]") {
  const Validation validation = validate(read_step_table(golden("sc21_table1.csv")));
  const ErrorSummary error = summarize(rows_of(validation));
  REQUIRE(error.num_rows == 10);
  CHECK(error.mean_absolute <= 0.05);
  CHECK(error.mean_absolute < error.baseline_mean_absolute);
}

TEST_CASE("step times of Korthikanti's Table 5 are within 3.5 % on average",
          "[sim][validation][golden]") {
  const Validation validation = validate(read_step_table(golden("korthikanti_table5.csv")));
  const ErrorSummary error = summarize(rows_of(validation));
  REQUIRE(error.num_rows == 9);
  CHECK(error.mean_absolute <= 0.035);
  CHECK(error.spearman >= 0.99);
}

TEST_CASE("measured steps of vTrain and DGX Cloud are within their bounds, release by release",
          "[sim][validation][golden]") {
  const auto multi = find_shared("data/groundtruth/steptime.csv");
  const auto single = find_shared("data/groundtruth/vtrain_a100_single.csv");
  if (!multi || !single) {
    WARN("the measured tables are not on this machine");
    return;
  }
  const Validation steps = validate(read_step_table(*multi));
  CHECK(steps.skipped.size() == 9);  // Megatron-Core r0.8 publishes no micro-batch size
  for (const RowGroup& group : group_rows(steps, {GroupKey::framework, GroupKey::precision})) {
    const ErrorSummary error = summarize(group.rows);
    CAPTURE(group.name);
    if (group.name == "megatron-deepspeed / fp16") {
      CHECK(error.mean_absolute <= 0.08);
    } else if (group.name.ends_with("bf16")) {
      CHECK(error.mean_absolute <= 0.04);
    } else if (group.name.ends_with("fp8")) {
      CHECK(error.mean_absolute <= 0.05);
    }
  }
  const Validation small = validate(read_step_table(*single));
  CHECK(summarize(rows_of(small)).mean_absolute <= 0.10);
}

TEST_CASE("every row is predicted or listed with its reason", "[sim][validation]") {
  const std::string header =
      "id,model,hardware,precision,gpus,heads,kv_heads,hidden,ffn_hidden,gated_mlp,layers,vocab,"
      "seq_len,tp,pp,cp,ep,dp,vpp_chunks,mbs,gbs,seq_parallel,recompute,dist_opt,overlap,moe,"
      "step_time_s,framework,source\n";
  const std::string good =
      "a,M,H100,BF16,8,16,16,2048,8192,0,24,51200,2048,8,1,1,1,1,1,4,32,1,none,1,DP,0,1.5,NeMo,"
      "tag v25.02.1\n";
  const auto reason_of = [&](const std::string& from, const std::string& to) -> std::string {
    std::string row = good;
    row.replace(row.find(from), from.size(), to);
    const Validation validation = validate(read_step_table(header + row, "t.csv"));
    REQUIRE(validation.predicted.size() + validation.skipped.size() == 1);
    return validation.skipped.empty() ? "predicted" : validation.skipped[0].reason;
  };
  CHECK(reason_of("H100", "H100") == "predicted");
  CHECK(reason_of("v25.02", "v25.03") == "predicted");  // as 25.02, with a note
  CHECK(reason_of("v25.02", "v20.01") == "predicted");  // as 24.11, with a note
  CHECK(reason_of("NeMo", "JAX").find("no parameters for h100_JAX") == 0);
  CHECK(reason_of("H100", "TPUv5").find("hardware") != std::string::npos);
  CHECK(reason_of(",4,32,", ",,32,") == "column mbs is empty");
  CHECK(reason_of(",4,32,", ",4,30,").find("gbs 30") == 0);
  CHECK(reason_of("BF16", "INT4").find("precision") != std::string::npos);
  CHECK(reason_of(",DP,0,", ",DP,1,").find("experts") != std::string::npos);
  CHECK(reason_of(",2048,8,1,", ",2048,17,1,").find("16 attention heads") != std::string::npos);
  CHECK_THROWS_AS(read_step_table(header + "a,b\n", "t.csv"), ParseError);
  CHECK_THROWS_AS(read_step_table("id,model\n", "t.csv"), ParseError);
  std::string text = good;
  text.replace(text.find(",2048,8192"), 5, ",many");
  CHECK_THROWS_AS(read_step_table(header + text, "t.csv"), ParseError);
}

TEST_CASE("an unknown NeMo release is priced as its neighbour, and the row says so",
          "[sim][validation]") {
  const StepTable table = read_step_table(golden("sc21_table1.csv"));
  MeasuredStep step = table.steps[0];
  step.gpu = "h100";
  const auto note_of = [&](const std::string& release) {
    step.release = release;
    const Validation validation = validate({{step}, {}});
    REQUIRE(validation.predicted.size() == 1);
    return validation.predicted[0].note;
  };
  CHECK(note_of("nemo-25.02").empty());
  CHECK(note_of("nemo-25.03") == "release nemo-25.03 priced as nemo-25.02");
  CHECK(note_of("nemo-23.01") == "release nemo-23.01 priced as nemo-24.11");
}

TEST_CASE("summaries of known errors", "[sim][validation]") {
  // Predictions 10 % over, 20 % under and right: MAPE 10 %, bias -10/3 %.
  std::vector<PredictedStep> steps(3);
  const double measured[] = {1.0, 2.0, 4.0};
  const double predicted[] = {1.1, 1.6, 4.0};
  std::vector<const PredictedStep*> rows;
  for (std::size_t i = 0; i < 3; ++i) {
    steps[i].measured.seconds = measured[i];
    steps[i].seconds = predicted[i];
    steps[i].model_flops = measured[i];  // all at the same rate
    rows.push_back(&steps[i]);
  }
  const ErrorSummary error = summarize(rows);
  CHECK(error.mean_absolute == Approx(0.1));
  CHECK(error.max_absolute == Approx(0.2));
  CHECK(error.bias == Approx(-0.1 / 3.0));
  CHECK(error.spearman == Approx(1.0));
  CHECK(error.regret == Approx(0.0));
  CHECK(error.baseline_mean_absolute == Approx(0.0).margin(1e-12));
  steps[2].seconds = 0.5;  // the slowest is taken for the fastest
  CHECK(summarize(rows).regret == Approx(3.0));
  CHECK(spearman({1, 2, 3, 4}, {4, 3, 2, 1}) == Approx(-1.0));
  CHECK(spearman({1, 2, 2, 3}, {1, 2, 2, 3}) == Approx(1.0));
  CHECK(std::isnan(spearman({1, 1}, {1, 2})));
}

}  // namespace
}  // namespace runflat::sim
