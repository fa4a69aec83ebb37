#include "sim/fault_file.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "core/reader.hpp"
#include "sim/fault_sampler.hpp"
#include "tests/catch.hpp"

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>

using namespace runflat;
using namespace runflat::sim;

namespace {

const ClusterShape kShape{.num_nodes = 400, .gpus_per_node = 8, .domain_size = 16};
constexpr Days kObserved{200};

FailureModel source_model() {
  const Recurrence refault{.probability = 0.3, .delay = Distribution::lognormal(Hours{3}, 1.5)};
  return {.classes = {{.name = "a \"quoted\" name",
                       .blast_radius = BlastRadius::node,
                       .rate_per_node_day = 0.004,
                       .repair = Distribution::lognormal_mixture(
                           {{.weight = 0.4, .median = Hours{1}, .sigma = 0.8},
                            {.weight = 0.6, .median = Hours{50}, .sigma = 1.0}}),
                       .batches = {.weights = {20, 3, 1}},
                       .refault = refault},
                      {.name = "software",
                       .blast_radius = BlastRadius::job,
                       .rate_per_node_day = 0.001,
                       .repair = Distribution::exponential(Hours{1})}},
          .node_rate_shape = 1.2};
}

FailureFit fit_of_sample(std::uint32_t num_replicas) {
  const FailureModel model = source_model();
  const FaultTrace trace{
      .faults = sample_faults(model, kShape, to_sim_time(kObserved), 3, 0).faults,
      .class_names = model.class_names()};
  return fit_failures(trace, kShape, {.observed = kObserved, .num_replicas = num_replicas});
}

FaultFile read(const std::string& toml) {
  const Value document = parse_toml(toml, "faults.toml");
  return read_fault_file(Reader{document, "faults.toml"});
}

std::string message(const std::string& toml) {
  try {
    static_cast<void>(read(toml));
  } catch (const ParseError& error) {
    return error.what();
  }
  return "";
}

/// To the six digits that are written.
void check_same(const FailureModel& found, const FailureModel& expected) {
  CHECK(found.node_rate_shape.value() == Approx(expected.node_rate_shape.value()).epsilon(1e-5));
  REQUIRE(found.classes.size() == expected.classes.size());
  for (std::size_t i = 0; i < found.classes.size(); ++i) {
    const FailureClass& a = found.classes[i];
    const FailureClass& b = expected.classes[i];
    CHECK(a.name == b.name);
    CHECK(a.blast_radius == b.blast_radius);
    CHECK(a.rate_per_node_day == Approx(b.rate_per_node_day).epsilon(1e-5));
    CHECK(a.arrival_shape == Approx(b.arrival_shape).epsilon(1e-5));
    CHECK(a.batches.mean_size() == Approx(b.batches.mean_size()).epsilon(1e-5));
    CHECK(a.refault.probability == Approx(b.refault.probability).epsilon(1e-5));
    for (const Hours x : {Hours{0.1}, Hours{1}, Hours{10}, Hours{100}}) {
      CHECK(a.repair.cdf(x) == Approx(b.repair.cdf(x)).margin(1e-4));
      CHECK(a.refault.delay.cdf(x) == Approx(b.refault.delay.cdf(x)).margin(1e-4));
    }
  }
}

}  // namespace

TEST_CASE("a fitted model written as TOML is read back the same", "[sim][fault_file]") {
  const FailureFit fit = fit_of_sample(30);
  const std::string toml = fault_file_toml(fit, kShape);
  INFO(toml);
  CHECK(toml.find("# 95 %: ") != std::string::npos);
  CHECK(toml.find("distance") != std::string::npos);
  const FaultFile file = read(toml);
  CHECK(file.shape == kShape);
  check_same(file.model, fit.model);
}

TEST_CASE("a scenario includes a fault file and may change its keys", "[sim][fault_file]") {
  const FailureFit fit = fit_of_sample(0);
  const auto folder = std::filesystem::temp_directory_path() / "runflat_fault_file_test";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "faults.toml") << fault_file_toml(fit, kShape);
  const std::string file = (folder / "scenario.toml").string();
  const auto read_scenario = [&](const std::string& lines) {
    const Value document = parse_toml("include = 'faults.toml'\n" + lines, file);
    return read_failure_model(Reader{document, file, "failures"}, kShape);
  };
  check_same(read_scenario(""), fit.model);
  const FailureModel changed = read_scenario(
      "scale = 2\nnode_rate_shape = 5\n[[class]]\nname = 'more'\nblast_radius = 'job'\n"
      "rate_per_1000_node_days = 1\n");
  CHECK(changed.scale == 2.0);
  CHECK(changed.node_rate_shape == 5.0);
  CHECK(changed.classes.size() == fit.model.classes.size() + 1);
  using Catch::Matchers::Contains;
  CHECK_THROWS_WITH(read_scenario("[[class]]\nname = 'software'\nblast_radius = 'job'\n"
                                  "rate_per_1000_node_days = 1\n"),
                    Contains("software is taken"));
  std::ofstream(folder / "faults.toml") << "[failures]\ninclude = 'faults.toml'\n";
  CHECK_THROWS_WITH(read_scenario(""), Contains("faults.toml: failures.include: expected no"));
  std::ofstream(folder / "faults.toml") << "schema = 1\n";
  CHECK_THROWS_WITH(read_scenario(""), Contains("expected a table failures"));
  std::filesystem::remove_all(folder);
  CHECK_THROWS_AS(read_scenario(""), ParseError);
}

TEST_CASE("a bad fault file is refused with its key path", "[sim][fault_file]") {
  using Catch::Matchers::Contains;
  CHECK_THAT(message("[cluster]\nnum_nodes = 4\n"), Contains("faults.toml: schema"));
  CHECK_THAT(message("schema = 1\n[cluster]\nnum_nodes = 0\n"),
             Contains("faults.toml: cluster.num_nodes: "));
  CHECK_THAT(message("schema = 1\n[cluster]\nnum_nodes = 4\ngpus_per_node = 8\n"),
             Contains("failures"));
  CHECK_THAT(message("schema = 1\n[cluster]\nnum_nodes = 4\ngpus_per_node = 8\nracks = 2\n"),
             Contains("racks"));
}

TEST_CASE("the report of a fit holds every number and null for what is missing",
          "[sim][fault_file]") {
  const FailureFit fit = fit_of_sample(0);
  const Value report = to_value(fit);
  const auto* parameters = report.find("parameters")->get_if<Value::Array>();
  REQUIRE(parameters != nullptr);
  CHECK(parameters->size() == fit.parameters.size());
  const std::string text = to_json_text(report);
  CHECK(text.find("\"low\": null") != std::string::npos);
  CHECK(text.find("weekly_fano") != std::string::npos);
}
