#include "core/injected_fault.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "core/random_fault.hpp"
#include "tests/catch.hpp"

#include <string>

using namespace runflat;

namespace {

std::string text_of_error(std::string_view fault) {
  try {
    static_cast<void>(parse_fault(fault));
  } catch (const ParseError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a fault is written as it is read", "[core][injected_fault]") {
  CHECK(parse_fault("kill rank=3 step=20") ==
        InjectedFault{.kind = FaultKind::kill, .rank = 3, .step = 20});
  CHECK(parse_fault("  hang  rank=1 step=2 at=update index=1 seconds=0.5 repair_steps=4 ") ==
        InjectedFault{.kind = FaultKind::hang,
                      .rank = 1,
                      .step = 2,
                      .place = FaultPlace::update,
                      .index = 1,
                      .seconds = 0.5,
                      .repair_steps = 4});
  CHECK(parse_fault("stop rank=1 time_s=12.5 at=decision") ==
        InjectedFault{.kind = FaultKind::stop,
                      .rank = 1,
                      .time = Seconds(12.5),
                      .place = FaultPlace::decision});
  for (std::int64_t i = 0; i < 500; ++i) {
    for (const std::optional<Seconds> most_time : {std::optional<Seconds>(), {Seconds(3e4)}}) {
      const InjectedFault fault =
          random_fault(9, i, {.num_ranks = 8, .num_steps = 30, .most_time = most_time});
      CHECK(parse_fault(to_text(fault)) == fault);
    }
  }
}

TEST_CASE("a fault that is none is refused in one line", "[core][injected_fault]") {
  CHECK(text_of_error("explode rank=1 step=2").find("kill") != std::string::npos);
  CHECK(text_of_error("kill step=2").find("rank") != std::string::npos);
  CHECK(text_of_error("kill rank=1 step=0").find("step") != std::string::npos);
  CHECK(text_of_error("kill rank=1 step=2 where=op").find("where") != std::string::npos);
  CHECK(text_of_error("kill rank=1 step=2 now").find("name=value") != std::string::npos);
  CHECK(text_of_error("hang rank=1 step=2").find("seconds") != std::string::npos);
  CHECK(text_of_error("kill rank=1 step=2 seconds=1").find("seconds") != std::string::npos);
  CHECK(text_of_error("nan rank=1 step=2 at=moved").find("places of a step") != std::string::npos);
  CHECK(text_of_error("kill rank=1").find("step") != std::string::npos);
  for (const char* field : {"step=2", "index=0"}) {
    CHECK(text_of_error(std::string("kill rank=1 time_s=2 ") + field).find("neither step nor") !=
          std::string::npos);
  }
  CHECK(text_of_error("kill rank=1 time_s=-1").find("time_s") != std::string::npos);
  CHECK_FALSE(text_of_error("").empty());
}

namespace {

std::vector<InjectedFault> faults_in(const std::string& text) {
  const Value value = parse_toml(text, "faults.toml");
  return read_faults(Reader(value, "faults.toml"));
}

}  // namespace

TEST_CASE("a file of faults", "[core][injected_fault]") {
  const std::vector<InjectedFault> faults = faults_in(R"(
schema = 1
[[fault]]
kind = "kill"
rank = 3
step = 20
at = "decision"
[[fault]]
kind = "slow"
rank = 0
time_s = 5
seconds = 2
[[random]]
num = 3
seed = 7
ranks = 4
steps = 100
)");
  REQUIRE(faults.size() == 5);
  CHECK(faults[0] == parse_fault("kill rank=3 step=20 at=decision"));
  CHECK(faults[1] == parse_fault("slow rank=0 time_s=5 seconds=2"));
  CHECK(faults[4] == random_fault(7, 2, {.num_ranks = 4, .num_steps = 100}));
}

TEST_CASE("random faults in a file have steps, times, or a mean time between them",
          "[core][injected_fault]") {
  const std::string head = "schema = 1\n[[random]]\nnum = 1000\nseed = 7\nranks = 4\n";
  for (const InjectedFault& fault : faults_in(head + "steps = 100")) {
    CHECK_FALSE(fault.time);
  }
  double last = 0.0;
  for (const InjectedFault& fault : faults_in(head + "mtbf_s = 50")) {
    CHECK(fault.time.value().count() >= last);
    last = fault.time->count();
  }
  // The sum of 1000 exponential gaps: mean 50,000, standard deviation 1,581; five of them.
  CHECK((last > 42'000.0 && last < 58'000.0));
  double sum = 0.0;
  for (const InjectedFault& fault : faults_in(head + "time_s = 50")) {
    CHECK((fault.time >= Seconds(0.0) && fault.time <= Seconds(50.0)));
    sum += fault.time->count();
  }
  // Uniform: mean 25, standard deviation of the mean 0.46; five of them.
  CHECK((sum / 1000.0 > 22.7 && sum / 1000.0 < 27.3));
  for (const char* moment : {"", "steps = 9\ntime_s = 9", "steps = 9\nmtbf_s = 9"}) {
    CHECK_THROWS_WITH(faults_in(head + moment),
                      Catch::Contains("expected one of steps, time_s and mtbf_s"));
  }
}
