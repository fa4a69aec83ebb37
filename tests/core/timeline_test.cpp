#include "core/timeline.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "core/reader.hpp"
#include "tests/catch.hpp"

#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <sstream>

namespace runflat {
namespace {

Timeline random_timeline(unsigned seed, int num_spans) {
  std::mt19937 random(seed);
  const auto between = [&random](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  Timeline timeline;
  std::map<std::pair<int, int>, double> clock;
  for (int i = 0; i < num_spans; ++i) {
    const int rank = between(0, 20);
    const int stream = between(0, 7);
    double& now = clock[{rank, stream}];
    const double begin = now + 1e-9 * between(0, 1'000'000);
    now = begin + 1e-9 * between(0, 1'000'000);
    timeline.add({.rank = Rank(rank),
                  .stream = static_cast<Stream>(stream),
                  .name = i % 3 == 0 ? "forward" : "all-reduce",
                  .begin = Seconds(begin),
                  .end = Seconds(now),
                  .microbatch = between(-1, 9),
                  .vp_stage = between(-1, 3),
                  .bucket = between(-1, 3),
                  .bytes = Bytes{static_cast<double>(between(0, 1 << 30))}});
  }
  return timeline;
}

/// The members of the trace events with this `ph`.
std::vector<Value> events_of(const std::string& trace, const std::string& phase) {
  const Value document = parse_json(trace, "trace.json");
  std::vector<Value> events;
  for (const Value& event : *document.find("traceEvents")->get_if<Value::Array>()) {
    if (*event.find("ph")->get_if<std::string>() == phase) {
      events.push_back(event);
    }
  }
  return events;
}

double number_at(const Value& event, const char* key) {
  return Reader(*event.find(key), "trace.json").number();
}

}  // namespace

TEST_CASE("a Chrome trace is JSON that holds every span to the nanosecond", "[core][timeline]") {
  const Timeline timeline = random_timeline(3, 2000);
  const std::vector<Value> events = events_of(to_chrome_trace(timeline), "X");
  REQUIRE(events.size() == timeline.spans().size());
  for (std::size_t i = 0; i < events.size(); ++i) {
    const Span& span = timeline.spans()[i];
    CHECK(*events[i].find("name")->get_if<std::string>() == span.name);
    CHECK(*events[i].find("cat")->get_if<std::string>() == name_of(span.stream));
    CHECK(number_at(events[i], "pid") == static_cast<double>(span.rank.value()));
    CHECK(number_at(events[i], "tid") == static_cast<double>(span.stream));
    CHECK(number_at(events[i], "ts") == Approx(span.begin.count() * 1e6).margin(1e-3));
    CHECK(number_at(events[i], "dur") ==
          Approx((span.end - span.begin).count() * 1e6).margin(1e-3));
    const Value& args = *events[i].find("args");
    CHECK((args.find("microbatch") != nullptr) == (span.microbatch >= 0));
    CHECK((args.find("vp_stage") != nullptr) == (span.vp_stage >= 0));
    CHECK((args.find("bucket") != nullptr) == (span.bucket >= 0));
    CHECK((args.find("bytes") != nullptr) == (span.bytes.value > 0.0));
  }
}

TEST_CASE("every rank and stream of a trace is named once", "[core][timeline]") {
  const std::vector<Value> names = events_of(to_chrome_trace(random_timeline(4, 3000)), "M");
  std::map<std::pair<double, std::string>, int> processes;
  std::map<std::pair<double, double>, int> threads;
  for (const Value& event : names) {
    const std::string& kind = *event.find("name")->get_if<std::string>();
    const double rank = number_at(event, "pid");
    const std::string& name = *event.find("args")->find("name")->get_if<std::string>();
    if (kind == "process_name") {
      CHECK(++processes[{rank, name}] == 1);
    } else {
      CHECK(++threads[{rank, number_at(event, "tid")}] == 1);
    }
  }
  CHECK(processes.size() == 21);
  CHECK(threads.size() == 21U * 8U);
}

TEST_CASE("spans that meet still meet in the trace", "[core][timeline]") {
  Timeline timeline;
  const double third = 1.0 / 3.0;
  for (int i = 0; i < 50; ++i) {
    timeline.add({.rank = Rank(0),
                  .name = "step",
                  .begin = Seconds(third * i),
                  .end = Seconds(third * (i + 1))});
  }
  const std::vector<Value> events = events_of(to_chrome_trace(timeline), "X");
  for (std::size_t i = 1; i < events.size(); ++i) {
    CHECK(number_at(events[i - 1], "ts") + number_at(events[i - 1], "dur") ==
          Approx(number_at(events[i], "ts")).margin(1e-6));
  }
}

TEST_CASE("names that JSON must escape survive, and an empty trace is valid", "[core][timeline]") {
  const std::string name = "a \"b\" \\ \n \t é {}";
  Timeline timeline;
  CHECK(events_of(to_chrome_trace(timeline), "X").empty());
  timeline.add({.rank = Rank(0), .stream = Stream::host, .name = name, .end = Seconds(1.0)});
  const std::vector<Value> events = events_of(to_chrome_trace(timeline), "X");
  REQUIRE(events.size() == 1);
  CHECK(*events[0].find("name")->get_if<std::string>() == name);
}

TEST_CASE("spans written one by one give the bytes of the whole timeline", "[core][timeline]") {
  const Timeline timeline = random_timeline(5, 500);
  std::ostringstream out;
  ChromeTraceWriter writer(out);
  for (const Span& span : timeline.spans()) {
    writer.write(span);
  }
  writer.finish();
  CHECK(out.str() == to_chrome_trace(timeline));
}

TEST_CASE("a timeline ends with its last span and adds up busy time", "[core][timeline]") {
  Timeline timeline;
  CHECK(timeline.end() == Seconds(0.0));
  timeline.add({.rank = Rank(1), .name = "a", .begin = Seconds(0.0), .end = Seconds(2.0)});
  timeline.add({.rank = Rank(1), .name = "b", .begin = Seconds(3.0), .end = Seconds(3.5)});
  timeline.add({.rank = Rank(1), .stream = Stream::tp, .name = "c", .end = Seconds(1.0)});
  timeline.add({.rank = Rank(0), .name = "d", .end = Seconds(1.0)});
  CHECK(timeline.end() == Seconds(3.5));
  CHECK(timeline.busy_time(Rank(1), Stream::compute) == Seconds(2.5));
  CHECK(timeline.busy_time(Rank(1), Stream::tp) == Seconds(1.0));
  CHECK(timeline.busy_time(Rank(1), Stream::dp) == Seconds(0.0));
}

TEST_CASE("spans that run backwards or forever are refused", "[core][timeline]") {
  Timeline timeline;
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(timeline.add({.name = "a", .begin = Seconds(1.0), .end = Seconds(0.5)}),
                  InvalidArgument);
  CHECK_THROWS_AS(timeline.add({.name = "a", .end = Seconds(infinity)}), InvalidArgument);
  CHECK_THROWS_AS(timeline.add({.name = "a", .begin = Seconds(std::nan(""))}), InvalidArgument);
}

}  // namespace runflat
