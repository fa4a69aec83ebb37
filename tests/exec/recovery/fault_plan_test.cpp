#include "exec/recovery/fault_plan.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "tests/catch.hpp"

#include <string>

using namespace runflat;
using namespace runflat::exec;

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

TEST_CASE("a fault is written as it is read", "[exec][fault_plan]") {
  CHECK(parse_fault("kill rank=3 step=20") ==
        Fault{.kind = FaultKind::kill, .rank = 3, .step = 20});
  CHECK(parse_fault("  hang  rank=1 step=2 at=update index=1 seconds=0.5 repair_steps=4 ") ==
        Fault{.kind = FaultKind::hang,
              .rank = 1,
              .step = 2,
              .place = FaultPlace::update,
              .index = 1,
              .seconds = 0.5,
              .repair_steps = 4});
  for (std::int64_t i = 0; i < 500; ++i) {
    const Fault fault = random_fault(9, i, {.num_ranks = 8, .num_steps = 30});
    CHECK(parse_fault(to_text(fault)) == fault);
  }
}

TEST_CASE("a fault that is none is refused in one line", "[exec][fault_plan]") {
  CHECK(text_of_error("explode rank=1 step=2").find("kill") != std::string::npos);
  CHECK(text_of_error("kill step=2").find("rank") != std::string::npos);
  CHECK(text_of_error("kill rank=1 step=0").find("step") != std::string::npos);
  CHECK(text_of_error("kill rank=1 step=2 where=op").find("where") != std::string::npos);
  CHECK(text_of_error("kill rank=1 step=2 now").find("name=value") != std::string::npos);
  CHECK(text_of_error("hang rank=1 step=2").find("seconds") != std::string::npos);
  CHECK(text_of_error("kill rank=1 step=2 seconds=1").find("seconds") != std::string::npos);
  CHECK_FALSE(text_of_error("").empty());
}

TEST_CASE("a file of faults", "[exec][fault_plan]") {
  const Value value = parse_toml(R"(
schema = 1
[[fault]]
kind = "kill"
rank = 3
step = 20
at = "decision"
[[fault]]
kind = "slow"
rank = 0
step = 5
seconds = 2
[[random]]
num = 3
seed = 7
ranks = 4
steps = 100
)",
                                 "faults.toml");
  const std::vector<Fault> faults = read_faults(Reader(value, "faults.toml"));
  REQUIRE(faults.size() == 5);
  CHECK(faults[0].place == FaultPlace::decision);
  CHECK(faults[1].seconds == 2.0);
  CHECK(faults[4] == random_fault(7, 2, {.num_ranks = 4, .num_steps = 100}));
}

TEST_CASE("random faults depend on seed and number alone, and keep to their range",
          "[exec][fault_plan]") {
  const FaultRange range{.num_ranks = 3, .num_steps = 5, .num_ops = 7, .num_stages = 2};
  std::int64_t num_kills = 0;
  for (std::int64_t i = 0; i < 2000; ++i) {
    const Fault fault = random_fault(1, i, range);
    CHECK(fault == random_fault(1, i, range));
    CHECK((fault.rank >= 0 && fault.rank < 3 && fault.step >= 1 && fault.step <= 5));
    CHECK((fault.index >= 0 && fault.index < 28));
    num_kills += fault.kind == FaultKind::kill ? 1 : 0;
  }
  // 17 of 24: mean 1417, standard deviation 20; five of them.
  CHECK((num_kills > 1317 && num_kills < 1517));
  CHECK_FALSE(random_fault(1, 0, range) == random_fault(2, 0, range));
}
