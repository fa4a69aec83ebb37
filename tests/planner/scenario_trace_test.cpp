#include "planner/scenario_trace.hpp"

#include "planner/what_if.hpp"
#include "tests/catch.hpp"
#include "tests/planner/shipped_scenario.hpp"

#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <string>

using namespace runflat;
using namespace runflat::planner;

namespace {

sim::FaultTrace trace_in(const std::string& name, const std::string& text, const Scenario& job) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("runflat_scenario_trace_" + name);
  std::ofstream(path) << text;
  auto trace = read_scenario_trace(path, job);
  std::filesystem::remove(path);
  return std::move(trace).value();
}

/// Of `policy`, alone.
PolicyResult live_through(const sim::FaultTrace& trace, const Scenario& job, PolicyKind policy) {
  const auto result = run_what_if({.scenario = job,
                                   .policies = {policy},
                                   .stop = {},
                                   .trace = trace,
                                   .with_loss_curves = false,
                                   .progress = {}});
  return result.value().policies.front();
}

double hours(const PolicyResult& result, sim::Cause cause) {
  return result.gpu_hours[static_cast<std::size_t>(cause)];
}

}  // namespace

TEST_CASE("a file of faults on demand is dated by the healthy step of the scenario",
          "[planner][scenario_trace]") {
  const Scenario job = shipped_scenario("small");
  const double step = injection_spec(job).value().step_time.count();
  const std::string toml =
      "schema = 1\n"
      "[[fault]]\nkind = \"kill\"\nrank = 9\nstep = 4000\nrepair_steps = 10000\n"
      "[[fault]]\nkind = \"hang\"\nrank = 3\ntime_s = 86400\nseconds = 100\n";
  const sim::FaultTrace trace = trace_in("a.toml", toml, job);
  // A hang is noticed after 60 s, so that it is one; nobody repairs it.
  const std::string csv = fmt::format(
      "start_day,end_day,blast_radius,component,detection,class\n"
      "{:.17g},{:.17g},gpu,9,crash,kill\n1,,gpu,3,hang,hang\n",
      3999.5 * step / 86400.0,
      13999.5 * step / 86400.0);
  sim::FaultTrace expected = trace_in("b.csv", csv, job);
  for (sim::Fault& fault : expected.faults) {
    fault.class_index = fault.class_index == 0 ? 0 : 2;  // kinds by their number
  }
  CHECK(trace.faults == expected.faults);
  const PolicyResult result = live_through(trace, job, PolicyKind::ntp);
  CHECK(result.step_time.count() == Approx(step).epsilon(1e-3));
  const double down_s = 10000.0 * step + job.duration / Seconds(1.0) - 86400.0;
  CHECK(hours(result, sim::Cause::failed) == Approx(down_s / 3600.0).epsilon(1e-6));
  CHECK(result.num_interruptions == 2.0);
}

TEST_CASE("JSON says the same as TOML, and broken connections cost a recovery in place",
          "[planner][scenario_trace]") {
  const Scenario job = shipped_scenario("small");
  const std::string json =
      R"({"schema": 1, "fault": [{"kind": "drop_link", "rank": 9, "step": 4000}]})";
  const sim::FaultTrace trace = trace_in("c.json", json, job);
  CHECK(trace == trace_in("c.toml",
                          "schema = 1\nfault = [{kind = \"drop_link\", rank = 9, step = 4000}]",
                          job));
  REQUIRE(trace.slowdowns.size() == 1);
  // Defaults: quiesce 0.5 s, communicators 0.69 s + 0.132 s x log2(64), warm-up 12.7 s.
  const sim::InjectionSpec spec = injection_spec(job).value();
  CHECK(spec.reconnect.count() == Approx(0.5 + 0.69 + 0.132 * 6 + 12.7));
  const PolicyResult calm = live_through({}, job, PolicyKind::ntp);
  const PolicyResult hit = live_through(trace, job, PolicyKind::ntp);
  const double lost_s = (calm.goodput.mean - hit.goodput.mean) * (job.duration / Seconds(1.0));
  CHECK(lost_s == Approx((spec.step_time + spec.reconnect).count()).epsilon(1e-3));
}
