#include "exec/drill/drill.hpp"

#include "tests/catch.hpp"
#include "tests/exec/recovery_jobs.hpp"

#include <cstdlib>
#include <string>

using namespace runflat;
using namespace runflat::exec;
using namespace runflat::tests;

namespace {

constexpr std::int64_t kSteps = 8;

/// 200, or what a nightly run asks for.
std::int64_t num_faults() {
  const char* text = std::getenv("RUNFLAT_DRILL_FAULTS");
  return text != nullptr ? std::stoll(text) : 200;
}

std::uint64_t seed() {
  const char* text = std::getenv("RUNFLAT_DRILL_SEED");
  return text != nullptr ? std::stoull(text) : 1;
}

}  // namespace

TEST_CASE(
    "random faults end in training with the losses of a run that was planned so, or in a stop",
    "[exec][drill]") {
  const std::vector<LayoutCase> layouts = redundant_cases();
  std::int64_t num_struck = 0;
  std::int64_t num_runs = 0;
  std::int64_t num_stopped = 0;
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    const ModelSpec model = i % 2 == 0 ? tiny_llama() : tiny_gpt();
    const MockDataset data = mock_data(model);
    CAPTURE(model.name, layouts[i].name);
    const DrillReport report =
        run_drill(job_of(model, layouts[i], kSteps),
                  {.num_faults = num_faults() / std::ssize(layouts), .seed = 100 * seed() + i},
                  data);
    CHECK(report.broken == std::vector<std::string>{});
    CHECK(report.worst_from_planned <= 1e-5);
    CHECK(report.worst_from_calm <= 1e-5);
    num_struck += std::ssize(report.rows);
    num_runs += report.num_runs;
    num_stopped += report.num_stopped;
  }
  CHECK(num_struck >= num_faults() / std::ssize(layouts) * std::ssize(layouts));
  // With state held twice, few runs lose both holders, or all of a stage.
  CHECK(5 * num_stopped <= num_runs);
}
