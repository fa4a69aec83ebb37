#include "exec/job/train_plan.hpp"

#include "tests/catch.hpp"

#include <numeric>
#include <vector>

using namespace runflat;
using namespace runflat::exec;

namespace {

/// One replica for every degree, on four slots.
ParallelLayout layout_of(const std::vector<std::int64_t>& degrees) {
  std::vector<InactiveSlots> inactive;
  for (std::size_t dp = 0; dp < degrees.size(); ++dp) {
    std::vector<std::int64_t> slots;
    for (std::int64_t slot = degrees[dp]; slot < 4; ++slot) {
      slots.push_back(slot);
    }
    inactive.push_back(
        {{DpRank(static_cast<std::int64_t>(dp)), CpRank(0), PpRank(0)}, std::move(slots)});
  }
  return ParallelLayout::nonuniform({.tp = 4, .dp = static_cast<std::int64_t>(degrees.size())},
                                    inactive);
}

}  // namespace

TEST_CASE("shares are proportional, and what is left goes to the largest remainders",
          "[exec][train]") {
  using Shares = std::vector<std::int64_t>;
  CHECK(proportional_microbatches(layout_of({4, 4, 4}), 12) == Shares{4, 4, 4});
  CHECK(proportional_microbatches(layout_of({4, 2}), 6) == Shares{4, 2});
  CHECK(proportional_microbatches(layout_of({4, 3, 2}), 12) == Shares{5, 4, 3});  // 5.3, 4, 2.7
  CHECK(proportional_microbatches(layout_of({4, 4}), 3) == Shares{2, 1});  // a tie: the first
  for (std::int64_t num = 0; num < 100; ++num) {
    const Shares shares = proportional_microbatches(layout_of({3, 1, 4, 2}), num);
    CHECK(std::accumulate(shares.begin(), shares.end(), std::int64_t{0}) == num);
  }
}

TEST_CASE("a replica is as fast as its smallest TP group", "[exec][train]") {
  const auto layout = ParallelLayout::nonuniform({.tp = 4, .dp = 2, .pp = 2},
                                                 {{{DpRank(1), CpRank(0), PpRank(1)}, {0, 3}}});
  CHECK(proportional_microbatches(layout, 6) == std::vector<std::int64_t>{4, 2});
}
