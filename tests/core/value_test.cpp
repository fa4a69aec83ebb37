#include "core/value.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <string>

using namespace runflat;

TEST_CASE("an object keeps its keys in the order in which they were set", "[core][value]") {
  Value value;
  value.set("zebra", 1);
  value.set("ant", 2);
  value.set("zebra", 3);
  CHECK(value == Value(Value::Object{{"zebra", 3}, {"ant", 2}}));
  REQUIRE(value.find("ant") != nullptr);
  CHECK(*value.find("ant") == Value(2));
  CHECK(value.find("bee") == nullptr);
  CHECK(Value(1).find("ant") == nullptr);
  CHECK_THROWS_AS(Value(1).set("ant", 2), InvalidArgument);
}

TEST_CASE("what set_path writes is found by walking the path, and nothing else changes",
          "[core][value]") {
  tests::Dice dice(1);
  const std::vector<std::string> names = {"a", "b", "c"};
  for (int round = 0; round < 200; ++round) {
    Value root = Value::Object{{"kept", 7}};
    std::vector<std::string> path = {"root"};
    for (std::int64_t depth = dice.between(0, 5); depth > 0; --depth) {
      path.push_back(dice.pick(names));
    }
    std::string dotted;
    for (const std::string& name : path) {
      dotted += (dotted.empty() ? "" : ".") + name;
    }
    root.set_path(dotted, round);
    const Value* place = &root;
    for (const std::string& name : path) {
      place = place->find(name);
      REQUIRE(place != nullptr);
    }
    CHECK(*place == Value(round));
    CHECK(*root.find("kept") == Value(7));
  }
}

TEST_CASE("set_path indexes arrays by number", "[core][value]") {
  Value root = Value::Object{{"runs", Value::array_of(std::vector<int>{1, 2, 3})}};
  root.set_path("runs.1", "two");
  CHECK(*root.find("runs") == Value(Value::Array{1, "two", 3}));
  CHECK_THROWS_AS(root.set_path("runs.3", 4), InvalidArgument);
  CHECK_THROWS_AS(root.set_path("runs.first", 4), InvalidArgument);
  CHECK_THROWS_AS(root.set_path("runs.0.deeper", 4), InvalidArgument);
  CHECK_THROWS_AS(root.set_path(".runs", 4), InvalidArgument);
  CHECK_THROWS_AS(root.set_path("a..b", 4), InvalidArgument);
  CHECK_THROWS_AS(root.set_path("runs.", 4), InvalidArgument);
  CHECK_THROWS_AS(root.set_path("", 4), InvalidArgument);
}

TEST_CASE("an array index of set_path is a whole number and nothing after it", "[core][value]") {
  Value root = Value::Object{{"runs", Value::array_of(std::vector<int>{1, 2, 3})}};
  CHECK_THROWS_AS(root.set_path("runs.1x", 4), InvalidArgument);
  CHECK_THROWS_AS(root.set_path("runs.-1", 4), InvalidArgument);
}

TEST_CASE("a value is described as a person would write it", "[core][value]") {
  CHECK(describe(Value()) == "nothing");
  CHECK(describe(Value(true)) == "true");
  CHECK(describe(Value(-3)) == "-3");
  CHECK(describe(Value(8.0)) == "8.0");
  CHECK(describe(Value(0.125)) == "0.125");
  CHECK(describe(Value("tp")) == "'tp'");
  CHECK(describe(Value(Value::Array{})) == "an array");
  CHECK(describe(Value(Value::Object{})) == "a table");
}

TEST_CASE("a long text is cut between two characters", "[core][value]") {
  CHECK(describe(Value(std::string(40, 'x'))) == "'" + std::string(40, 'x') + "'");
  CHECK(describe(Value(std::string(41, 'x'))) == "'" + std::string(40, 'x') + "...'");
  const std::string e_acute = "\xc3\xa9";
  CHECK(describe(Value(std::string(39, 'x') + e_acute)) == "'" + std::string(39, 'x') + "...'");
}
