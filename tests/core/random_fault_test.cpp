#include "core/random_fault.hpp"

#include "tests/catch.hpp"

using namespace runflat;

TEST_CASE("random faults depend on seed and number alone, and keep to their range",
          "[core][random_fault]") {
  const FaultRange range{.num_ranks = 3, .num_steps = 5, .num_ops = 7, .num_stages = 2};
  std::int64_t num_kills = 0;
  for (std::int64_t i = 0; i < 2000; ++i) {
    const InjectedFault fault = random_fault(1, i, range);
    CHECK(fault == random_fault(1, i, range));
    CHECK((fault.rank >= 0 && fault.rank < 3 && fault.step >= 1 && fault.step <= 5));
    CHECK((fault.index >= 0 && fault.index < 28));
    num_kills += fault.kind == FaultKind::kill ? 1 : 0;
  }
  // 17 of 24: mean 1417, standard deviation 20; five of them.
  CHECK((num_kills > 1317 && num_kills < 1517));
  CHECK_FALSE(random_fault(1, 0, range) == random_fault(2, 0, range));
}

TEST_CASE("a fault drawn at a time differs in that alone from the one drawn at a step",
          "[core][random_fault]") {
  const FaultRange steps{.num_ranks = 3, .num_steps = 5};
  FaultRange times = steps;
  times.most_time = Seconds(60.0);
  for (std::int64_t i = 0; i < 100; ++i) {
    InjectedFault timed = random_fault(1, i, times);
    const InjectedFault stepped = random_fault(1, i, steps);
    timed.time.reset();
    timed.step = stepped.step;
    timed.index = stepped.index;
    CHECK(timed == stepped);
  }
}
