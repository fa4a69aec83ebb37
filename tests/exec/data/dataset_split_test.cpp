#include "exec/data/dataset_split.hpp"

#include "core/error.hpp"
#include "core/value.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <string>

using namespace runflat;
using namespace runflat::exec;

namespace {

SplitWeights weights_of(const std::string& text) {
  const Value value(text);
  return read_split_weights(Reader(value, "train.toml", "data.split"));
}

}  // namespace

TEST_CASE("Megatron's default split", "[exec][data]") {
  const SplitWeights weights = weights_of("969, 30, 1");
  CHECK(split_range(weights, Split::train, 1000) == SequenceRange{0, 969});
  CHECK(split_range(weights, Split::valid, 1000) == SequenceRange{969, 30});
  CHECK(split_range(weights, Split::test, 1000) == SequenceRange{999, 1});
}

TEST_CASE("bounds of splits are rounded half to even", "[exec][data]") {
  CHECK(split_range(weights_of("1,1"), Split::train, 5) == SequenceRange{0, 2});  // 2.5
  CHECK(split_range(weights_of("1,1"), Split::train, 7) == SequenceRange{0, 4});  // 3.5
  CHECK(split_range(weights_of("1,1"), Split::test, 7) == SequenceRange{7, 0});
  CHECK(split_range(weights_of("0.25,.5,0.25"), Split::valid, 8) == SequenceRange{2, 4});
}

TEST_CASE("splits partition the sequences", "[exec][data]") {
  tests::Dice dice(3);
  for (int i = 0; i < 1000; ++i) {
    const SplitWeights weights = {static_cast<double>(dice.between(0, 1000)),
                                  static_cast<double>(dice.between(1, 1000)),
                                  static_cast<double>(dice.between(0, 1000)) / 7.0};
    const std::int64_t num = dice.between(0, 1'000'000'000);
    std::int64_t next = 0;
    for (const Split split : {Split::train, Split::valid, Split::test}) {
      const SequenceRange range = split_range(weights, split, num);
      CHECK(range.first == next);
      CHECK(range.num >= 0);
      next += range.num;
    }
    CHECK(next == num);
  }
}

TEST_CASE("a split that is none is named", "[exec][data]") {
  const std::string text =
      GENERATE("", "1,,1", "1,2,3,4", "0,0", "-1,2", "a", "1,2,", "nan", "inf", "1 2", "1e400");
  CHECK_THROWS_WITH(weights_of(text),
                    Catch::Contains("train.toml: data.split: expected one to three"));
}
