#include "exec/data/numpy_random.hpp"

#include "tests/catch.hpp"
#include "tests/sim/golden_table.hpp"

#include <map>
#include <numeric>
#include <string>
#include <vector>

using namespace runflat::exec;

TEST_CASE("shuffles and draws are numpy's", "[exec][data]") {
  std::map<std::string, NumpyRandomState> states;
  const auto rows = runflat::sim::read_golden("numpy_random_state.txt");
  REQUIRE(rows.size() >= 11);
  for (const auto& row : rows) {
    const auto seed = static_cast<std::uint32_t>(std::stoull(row[0]));
    NumpyRandomState& random = states.try_emplace(row[0], seed).first->second;
    std::vector<std::uint64_t> expected;
    for (std::size_t i = 3; i < row.size(); ++i) {
      expected.push_back(std::stoull(row[i]));
    }
    std::vector<std::uint64_t> drawn(expected.size());
    if (row[1] == "shuffle") {
      REQUIRE(row[2] == std::to_string(expected.size()));
      std::iota(drawn.begin(), drawn.end(), std::uint64_t{0});
      random.shuffle(drawn);
    } else {
      REQUIRE(row[1] == "up_to");
      for (std::uint64_t& value : drawn) {
        value = random.up_to(std::stoull(row[2]));
      }
    }
    CHECK(drawn == expected);
  }
}
