#include "core/override.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "tests/catch.hpp"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

using namespace runflat;

namespace {

Value with_override(const std::string& assignment) {
  Value document = parse_toml("[cluster]\nnum_nodes = 4\n[[faults]]\nrate = 1.5\n", "a.toml");
  apply_override(document, assignment);
  return document;
}

Value set_to(const std::string& text) {
  const Value document = with_override("cluster.x=" + text);
  return *document.find("cluster")->find("x");
}

}  // namespace

TEST_CASE("an override reads back as the TOML value that was written", "[core][override]") {
  CHECK(set_to("12") == Value(12));
  CHECK(set_to("-0.5") == Value(-0.5));
  CHECK(set_to("true") == Value(true));
  CHECK(set_to("\"a b\"") == Value("a b"));
  CHECK(set_to("[1, 2]") == Value(Value::Array{Value(1), Value(2)}));
}

TEST_CASE("what is not TOML is text as it stands", "[core][override]") {
  CHECK(set_to("h100") == Value("h100"));
  CHECK(set_to("") == Value(""));
  CHECK(set_to("a=b") == Value("a=b"));
  CHECK(set_to("1\nother = 2") == Value("1\nother = 2"));
}

TEST_CASE("an override changes the one value that it names", "[core][override]") {
  CHECK(with_override("cluster.num_nodes=8") ==
        parse_toml("[cluster]\nnum_nodes = 8\n[[faults]]\nrate = 1.5\n", "a.toml"));
  CHECK(with_override("faults.0.rate=2.5") ==
        parse_toml("[cluster]\nnum_nodes = 4\n[[faults]]\nrate = 2.5\n", "a.toml"));
}

TEST_CASE("an override that has no place is refused with its text", "[core][override]") {
  for (const char* assignment :
       {"", "=1", "cluster", "cluster.num_nodes.x=1", "faults.1.rate=1", "a..b=1"}) {
    Value document = parse_toml("[cluster]\nnum_nodes = 4\n[[faults]]\nrate = 1.5\n", "a.toml");
    CHECK_THROWS_AS(apply_override(document, assignment), ParseError);
  }
  CHECK_THROWS_WITH(with_override("cluster.num_nodes.x=1"),
                    Catch::Contains("cluster.num_nodes.x=1"));
}

TEST_CASE("a TOML file changes the values that it holds, key by key", "[core][override]") {
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / "runflat_override_test.toml";
  std::ofstream(file) << "[cluster]\nnum_nodes = 8\n[cluster.rack]\nrows = 2\n[new]\nx = 1\n";
  CHECK(with_override(file.string()) ==
        parse_toml("[cluster]\nnum_nodes = 8\nrack.rows = 2\n[[faults]]\nrate = 1.5\n"
                   "[new]\nx = 1\n",
                   "a.toml"));
  std::ofstream(file) << "faults = []\n";
  CHECK(*with_override(file.string()).find("faults") == Value(Value::Array{}));
  std::filesystem::remove(file);
  CHECK_THROWS_WITH(with_override(file.string()), Catch::Contains(file.string()));
}
