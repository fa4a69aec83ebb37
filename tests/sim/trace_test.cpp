#include "sim/trace.hpp"

#include "core/error.hpp"
#include "sim/down_count.hpp"
#include "sim/failure_model.hpp"
#include "sim/fault_sampler.hpp"
#include "tests/catch.hpp"
#include "tests/sim/shared_data.hpp"

#include <algorithm>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

const ClusterShape kShape{.num_nodes = 400, .gpus_per_node = 8, .domain_size = 16};

FaultTrace parse(const std::string& text) {
  return parse_fault_trace(text, "t.csv", kShape);
}

SimTime days(double count) {
  return to_sim_time(Days{count});
}

/// The rows of a small trace in the columns of the InfiniteHBD trace.
const std::string kSmall =
    "start_day,end_day,node,level,class,desc\n"
    "3.8955,26.041,1,Hardware Failure,GPU,GPU DBE(Double Bit ECC) > Threshold\n"
    "1.5,2,0,Software Failure,\"Tool, other\",\"a \"\"quoted\"\" word\"\n"
    "20,,1,Hardware Failure,GPU,\n";

}  // namespace

TEST_CASE("a trace in the columns of InfiniteHBD is read, whatever the order of its rows",
          "[sim][trace]") {
  const FaultTrace trace = parse(kSmall);
  CHECK(trace.class_names ==
        std::vector<std::string>{"Hardware Failure/GPU", "Software Failure/Tool, other"});
  const auto node_fault = [](SimTime begin, SimTime end, std::int32_t node, std::int32_t index) {
    return Fault{.begin = begin,
                 .end = end,
                 .component = node,
                 .class_index = index,
                 .blast_radius = BlastRadius::node};
  };
  CHECK(trace.faults == std::vector<Fault>{node_fault(days(1.5), days(2), 0, 1),
                                           node_fault(days(3.8955), days(26.041), 1, 0),
                                           node_fault(days(20), kNever, 1, 0)});
}

TEST_CASE("a generic trace names blast radius and component", "[sim][trace]") {
  const FaultTrace trace = parse(
      "detection,component,blast_radius,end_day,start_day\n"
      "hang,3199,gpu,2,1\n,199,domain,2,1\ncrash,0,job,2,2\n");
  REQUIRE(trace.faults.size() == 3);
  CHECK(trace.class_names == std::vector<std::string>{""});
  CHECK(trace.faults[0].blast_radius == BlastRadius::domain);
  CHECK(trace.faults[0].detection == Detection::crash);
  CHECK(trace.faults[1].component == 3199);
  CHECK(trace.faults[1].detection == Detection::hang);
  CHECK(trace.faults[2].blast_radius == BlastRadius::job);
}

TEST_CASE("a trace written and read again is the same", "[sim][trace]") {
  const FailureModel model{.classes = {{.name = "gpu, \"hot\"",
                                        .blast_radius = BlastRadius::gpu,
                                        .rate_per_node_day = 0.02,
                                        .repair = Distribution::lognormal(Hours{20}, 2.5)},
                                       {.name = " domain",
                                        .blast_radius = BlastRadius::domain,
                                        .rate_per_node_day = 0.002,
                                        .repair = Distribution::constant(Seconds{1e200}),
                                        .detection = Detection::hang}}};
  FaultTrace trace;
  for (std::uint32_t trial = 0; trial < 5; ++trial) {
    trace.faults = sample_faults(model, kShape, days(100), 1, trial).faults;
    // Indices follow the first occurrence, which is what a reader of the file sees.
    const bool swapped = trace.faults.front().class_index == 1;
    trace.class_names = {"gpu, \"hot\"", " domain"};
    if (swapped) {
      std::swap(trace.class_names[0], trace.class_names[1]);
      for (Fault& fault : trace.faults) {
        fault.class_index = 1 - fault.class_index;
      }
    }
    const FaultTrace again = parse(fault_trace_csv(trace));
    REQUIRE(again == trace);
  }
}

TEST_CASE("silence and slow components survive writing and reading", "[sim][trace]") {
  FailureModel model{.classes = {{.name = "corruption",
                                  .rate_per_node_day = 0.02,
                                  .repair = Distribution::constant(Hours{3}),
                                  .silence = Distribution::exponential(Hours{20})},
                                 {.name = "throttled",
                                  .rate_per_node_day = 0.02,
                                  .repair = Distribution::exponential(Hours{3}),
                                  .slow = Slowness{.resource = Resource::network, .speed = 0.7}}}};
  const FaultTimeline sampled = sample_faults(model, kShape, days(100), 3, 0);
  FaultTrace trace{
      .faults = sampled.faults, .class_names = model.class_names(), .slowdowns = sampled.slowdowns};
  CHECK(parse(fault_trace_csv(trace)) == trace);
  CHECK(replay(trace, kShape, days(100)) == sampled);
  trace.faults.clear();
  trace.class_names = {"throttled"};
  for (Slowdown& slowdown : trace.slowdowns) {
    slowdown.class_index = 0;
  }
  CHECK(parse(fault_trace_csv(trace)) == trace);
  using Catch::Matchers::Contains;
  const std::string header = "start_day,end_day,node,silent_seconds,speed,resource\n";
  CHECK_THROWS_WITH(parse(header + "1,2,3,-4,,\n"), Contains("t.csv: row 2: silent_seconds: "));
  CHECK_THROWS_WITH(parse(header + "1,2,3,,1.5,\n"), Contains("t.csv: row 2: speed: "));
  CHECK_THROWS_WITH(parse(header + "1,2,3,,0.5,disk\n"), Contains("t.csv: row 2: resource: "));
}

TEST_CASE("a bad trace is refused with its row", "[sim][trace]") {
  using Catch::Matchers::Contains;
  const std::string header = "start_day,end_day,node,class\n0,1,2,ok\n";
  const auto bad_row = [&](const std::string& row, const std::string& text) {
    CHECK_THROWS_AS(parse(header + row), ParseError);
    CHECK_THROWS_WITH(parse(header + row), Contains("t.csv: row 3: " + text));
  };
  bad_row("5,4.9,2,x", "expected an end_day no earlier than start_day, found 4.9 before 5");
  bad_row("5,6,400,x", "node: expected an integer from 0 to 399, found '400'");
  bad_row("5,6,-1,x", "node: ");
  bad_row("5,6,1.5,x", "node: ");
  bad_row("5,6,99999999999999999999,x", "node: ");
  bad_row("nan,6,1,x", "start_day: expected a number of days from 0 to 1e6, found 'nan'");
  bad_row("5,nan,1,x", "end_day: ");
  bad_row("5,inf,1,x", "end_day: ");
  bad_row("-5,6,1,x", "start_day: ");
  bad_row("5,1e7,1,x", "end_day: ");
  bad_row("5 days,6,1,x", "start_day: ");
  bad_row(",6,1,x", "start_day: ");
  bad_row("5,6,1", "expected 4 fields, found 3");
  bad_row("5,6,1,x,y", "expected 4 fields, found 5");
  bad_row("5,6,1,\"x", "expected a closing quote");
}

TEST_CASE("a bad header is refused", "[sim][trace]") {
  using Catch::Matchers::Contains;
  CHECK_THROWS_WITH(parse(""), Contains("t.csv: row 0: expected a header"));
  CHECK_THROWS_WITH(parse("start_day,node\n"), Contains("row 1: expected a column end_day"));
  CHECK_THROWS_WITH(parse("start_day,end_day\n"), Contains("expected either a column node"));
  CHECK_THROWS_WITH(parse("start_day,end_day,component\n"),
                    Contains("expected either a column node"));
  CHECK_THROWS_WITH(parse("start_day,end_day,node,component,blast_radius\n"),
                    Contains("expected either a column node"));
  CHECK_THROWS_WITH(parse("start_day,end_day,node,node\n"), Contains("one column node"));
  const std::string generic = "start_day,end_day,blast_radius,component,detection\n";
  CHECK_THROWS_WITH(parse(generic + "0,1,rack,0,\n"), Contains("one of gpu, node, domain, job"));
  CHECK_THROWS_WITH(parse(generic + "0,1,domain,200,\n"), Contains("from 0 to 199"));
  CHECK_THROWS_WITH(parse(generic + "0,1,gpu,0,smoke\n"), Contains("one of crash, hang"));
}

TEST_CASE("a file that cannot be read is a parse error", "[sim][trace]") {
  CHECK_THROWS_AS(read_fault_trace("/no/such/trace.csv", kShape), ParseError);
  CHECK_THROWS_AS(read_fault_trace(std::filesystem::temp_directory_path(), kShape), ParseError);
}

TEST_CASE("random damage to a trace is read or refused, and never worse", "[sim][trace][fuzz]") {
  std::mt19937 generator{14};
  constexpr int kRounds = 20000;
  int num_refused = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::string text = kSmall;
    for (unsigned damage = 1 + generator() % 4; damage > 0; --damage) {
      const std::size_t at = generator() % text.size();
      const char byte = generator() % 2 == 0 ? "\",\n\r 0-.e"[generator() % 9]
                                             : static_cast<char>(generator() % 256);
      switch (generator() % 4) {
        case 0:
          text[at] = byte;
          break;
        case 1:
          text.insert(at, 1, byte);
          break;
        case 2:
          text.erase(at, 1 + generator() % 8);
          break;
        default:
          text += text.substr(at, generator() % 80);
      }
    }
    try {
      const FaultTrace trace = parse(text);
      for (const Fault& fault : trace.faults) {
        REQUIRE(fault.begin >= SimTime::zero());
        REQUIRE(fault.begin <= fault.end);
        REQUIRE(fault.component >= 0);
        REQUIRE(fault.component < kShape.num_nodes);
        REQUIRE(static_cast<std::size_t>(fault.class_index) < trace.class_names.size());
      }
    } catch (const ParseError&) {
      ++num_refused;
    }
  }
  CHECK(num_refused > kRounds / 10);
  CHECK(num_refused < kRounds * 9 / 10);
}

TEST_CASE("a job sees the faults of its own time, counted from its start", "[sim][trace]") {
  const FaultTrace trace = parse(kSmall);
  const FaultTimeline whole = replay(trace, kShape, days(30));
  CHECK(whole.faults == trace.faults);
  const FaultTimeline late = replay(trace, kShape, days(10), days(10));
  REQUIRE(late.faults.size() == 1);  // one repaired before, one fails at its very end
  CHECK(late.faults[0].begin == days(3.8955) - days(10));
  CHECK(late.faults[0].end == days(26.041) - days(10));
  CHECK(replay(trace, kShape, days(11), days(10)).faults.back().end == kNever);
}

TEST_CASE("a window of a replay is down exactly as the whole is at that time", "[sim][trace]") {
  const FailureModel model{.classes = {{.name = "gpu",
                                        .blast_radius = BlastRadius::gpu,
                                        .rate_per_node_day = 0.01,
                                        .repair = Distribution::exponential(Hours{50})}}};
  const FaultTrace trace{.faults = sample_faults(model, kShape, days(60), 2, 0).faults,
                         .class_names = {"gpu"}};
  const DownCount whole{replay(trace, kShape, days(60)), BlastRadius::node};
  const DownCount window{replay(trace, kShape, days(13), days(21)), BlastRadius::node};
  for (SimTime now{0}; now < days(13); now += days(0.01)) {
    REQUIRE(window.at(now) == whole.at(now + days(21)));
  }
}

TEST_CASE("the InfiniteHBD trace on 400 nodes has the published numbers of nodes down",
          "[sim][trace][golden]") {
  const auto path = find_shared("data/traces/infinitehbd_faults.csv");
  if (!path) {
    WARN("skipped: no shared/data/traces/infinitehbd_faults.csv");
    return;
  }
  const FaultTrace trace = read_fault_trace(*path, kShape);
  CHECK(trace.faults.size() == 584);
  // shared/reference/fault-tolerance.md section 3b, data/traces/defaults.json: fractions of nodes,
  // up to the last repair.
  SimTime last{};
  for (const Fault& fault : trace.faults) {
    last = std::max(last, fault.end);
  }
  const DownCount whole{replay(trace, kShape, last), BlastRadius::node};
  CHECK(whole.mean() / 400 == Approx(0.0231).margin(0.00005));
  CHECK(whole.quantile(0.5) / 400.0 == 0.0175);
  CHECK(whole.quantile(0.9) / 400.0 == 0.055);
  CHECK(whole.quantile(0.99) / 400.0 == 0.0775);
  CHECK(whole.max() / 400.0 == 0.0875);
  // And of 348 days, as an observer sees them who looks every hour.
  const DownCount hourly =
      DownCount{replay(trace, kShape, days(348)), BlastRadius::node}.sampled_every(
          to_sim_time(Hours{1}));
  CHECK(hourly.mean() / 400 == Approx(0.023).margin(0.0005));
  CHECK(hourly.quantile(0.99) / 400.0 == 0.0775);
}
