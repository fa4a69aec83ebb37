#include "sim/ledger.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <array>
#include <cstdint>
#include <set>
#include <string>

using namespace runflat;
using namespace runflat::sim;

TEST_CASE("moving time between causes keeps the total, and never overdraws", "[sim][ledger]") {
  tests::Dice dice(21);
  GpuTimeLedger ledger;
  std::array<std::int64_t, kNumCauses> expected{};
  std::int64_t total = 0;
  const auto some_cause = [&] { return dice.index(kNumCauses); };
  for (int i = 0; i < 2000; ++i) {
    if (dice.one_in(2)) {
      const std::size_t cause = some_cause();
      const std::int64_t gpus = dice.between(0, 100'000);
      const SimTime span{dice.between(0, 1'000'000)};
      ledger.add(static_cast<Cause>(cause), gpus, span);
      expected[cause] += gpus * span.count();
      total += gpus * span.count();
    } else {
      const std::size_t from = some_cause();
      const std::size_t to = some_cause();
      const std::int64_t held = ledger.gpu_ms(static_cast<Cause>(from));
      const std::int64_t amount = dice.between(0, held);
      ledger.move_gpu_ms(static_cast<Cause>(from), static_cast<Cause>(to), amount);
      expected[from] -= amount;
      expected[to] += amount;
      CHECK_THROWS_AS(ledger.move_gpu_ms(static_cast<Cause>(from),
                                         static_cast<Cause>(to),
                                         ledger.gpu_ms(static_cast<Cause>(from)) + 1),
                      InvalidArgument);
    }
    REQUIRE(ledger.total_gpu_ms() == total);
  }
  for (std::size_t cause = 0; cause < kNumCauses; ++cause) {
    CHECK(ledger.gpu_ms(static_cast<Cause>(cause)) == expected[cause]);
  }
  CHECK_THROWS_AS(ledger.move_gpu_ms(Cause::useful, Cause::idle, -1), InvalidArgument);
}

TEST_CASE("a million GPUs fit into a ledger for a hundred years", "[sim][ledger]") {
  GpuTimeLedger ledger;
  ledger.add(Cause::useful, 1'000'000, to_sim_time(Days{36525}));
  CHECK(ledger.gpu_hours(Cause::useful) == Approx(1e6 * 36525 * 24));
  CHECK(ledger.total_gpu_ms() > 0);
}

TEST_CASE("every cause has a name of its own", "[sim][ledger]") {
  std::set<std::string> names;
  for (std::size_t cause = 0; cause < kNumCauses; ++cause) {
    names.insert(std::string(to_string(static_cast<Cause>(cause))));
  }
  CHECK(names.size() == kNumCauses);
  CHECK(names.count("") == 0);
}
