#include "core/document.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <filesystem>
#include <fstream>
#include <functional>

using namespace runflat;

namespace {

std::string error_of(const std::function<Value()>& parse) {
  try {
    (void)parse();
  } catch (const ParseError& error) {
    return error.what();
  }
  return "no error";
}

std::string toml_error(const std::string& text) {
  return error_of([&] { return parse_toml(text, "a.toml"); });
}
std::string json_error(const std::string& text) {
  return error_of([&] { return parse_json(text, "a.json"); });
}

std::string repeat(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) {
    out += text;
  }
  return out;
}

std::string random_text(tests::Dice& dice) {
  static const std::vector<std::string> kPieces = {
      "a", "Z", "0", " ", ".", "\"", "\\", "\n", "\t", "\x01", "\xc3\xa9", "\xf0\x9f\x9a\x97"};
  std::string text;
  for (std::int64_t i = dice.between(0, 8); i > 0; --i) {
    text += dice.pick(kPieces);
  }
  return text;
}

Value random_value(tests::Dice& dice, int depth) {
  switch (dice.between(0, depth > 0 ? 6 : 4)) {
    case 0:
      return {};
    case 1:
      return dice.one_in(2);
    case 2:
      return dice.between(std::int64_t{-1} << 60, std::int64_t{1} << 60);
    case 3:
      return static_cast<double>(dice.between(-1000000, 1000000)) / 1024.0 * 1e-3;
    case 4:
      return random_text(dice);
    case 5: {
      Value::Array items;
      for (std::int64_t i = dice.between(0, 4); i > 0; --i) {
        items.push_back(random_value(dice, depth - 1));
      }
      return items;
    }
    default: {
      Value object = Value::Object{};
      for (std::int64_t i = dice.between(0, 4); i > 0; --i) {
        object.set(random_text(dice), random_value(dice, depth - 1));
      }
      return object;
    }
  }
}

class TemporaryFile {
 public:
  TemporaryFile(const std::string& name, const std::string& text)
      : path_(std::filesystem::temp_directory_path() / name) {
    std::ofstream(path_, std::ios::binary) << text;
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace

TEST_CASE("any value reads back from its JSON text, indented or not", "[core][document]") {
  tests::Dice dice(1);
  for (int round = 0; round < 500; ++round) {
    const Value value = random_value(dice, 4);
    const std::string text = to_json_text(value);
    CAPTURE(text);
    CHECK(parse_json(text, "a.json") == value);
    CHECK(parse_json(to_json_text(value, -1), "a.json") == value);
    CHECK(text.back() == '\n');
  }
}

TEST_CASE("a floating-point number stays one in JSON, and NaN and infinity become null",
          "[core][document]") {
  CHECK(to_json_text(8.0) == "8.0\n");
  CHECK(to_json_text(0.1) == "0.1\n");
  CHECK(to_json_text(std::numeric_limits<double>::quiet_NaN()) == "null\n");
  CHECK(to_json_text(std::numeric_limits<double>::infinity()) == "null\n");
}

TEST_CASE("TOML and JSON of the same document give the same value", "[core][document]") {
  const Value toml = parse_toml(
      "half = 0.5\nname = 'x'  # a comment\non = true\nrange = [1, -2]\n"
      "[table]\ncount = 0x10\nsub.deep = {a = 1, b = \"two\"}\n[[users]]\nid = 1\n[[users]]\n",
      "a.toml");
  const Value json = parse_json(R"({"half": 0.5, "name": "x", "on": true, "range": [1, -2],
                                    "table": {"count": 16, "sub": {"deep": {"a": 1, "b": "two"}}},
                                    "users": [{"id": 1}, {}]})",
                                "a.json");
  CHECK(toml == json);
}

TEST_CASE("text that is not well formed is refused with line and column", "[core][document]") {
  CHECK(toml_error("a = 1\nb = = 2").rfind("a.toml: line 2, column 5: ", 0) == 0);
  CHECK(toml_error("a = 1\nb = \"open").rfind("a.toml: line 2, column ", 0) == 0);
  CHECK(json_error("{\"a\":\n  1,,}") == "a.json: line 2, column 5: expected well-formed JSON");
  CHECK(json_error("") == "a.json: line 1, column 1: expected well-formed JSON");
  CHECK(json_error("{} {}") == "a.json: line 1, column 4: expected well-formed JSON");
  CHECK(json_error("NaN") == "a.json: line 1, column 1: expected well-formed JSON");
}

TEST_CASE("a key that is there twice is refused", "[core][document]") {
  CHECK(json_error("{\"a\": [{\"b\": 1, \"c\": 2, \"b\": 1}]}") == "a.json: a.0.b: appears twice");
  CHECK(toml_error("a = 1\na = 1").rfind("a.toml: line 2", 0) == 0);
  CHECK(toml_error("[a]\n[a]").rfind("a.toml: line 2", 0) == 0);
  CHECK(toml_error("a.b = 1\n[a]\nb = 1").rfind("a.toml: line 2", 0) == 0);
}

TEST_CASE("text that is not UTF-8 is refused", "[core][document]") {
  for (const std::string bad : {"\xff", "\xc3", "\xe2\x82", "\xc0\xaf", "\xed\xa0\x80"}) {
    CHECK(toml_error("a = '" + bad + "'").rfind("a.toml: line 1", 0) == 0);
    CHECK(toml_error("# " + bad).rfind("a.toml: line 1", 0) == 0);
    CHECK(json_error("\"" + bad + "\"").rfind("a.json: line 1", 0) == 0);
  }
}

TEST_CASE("an integer beyond 64 bits is refused, the largest and smallest are read",
          "[core][document]") {
  for (const char* const text : {"9223372036854775807", "-9223372036854775808"}) {
    CHECK(parse_json(text, "a.json") ==
          *parse_toml(std::string("a = ") + text, "a.toml").find("a"));
  }
  for (const std::string text :
       {"9223372036854775808", "-9223372036854775809", "100000000000000000000000"}) {
    CHECK(json_error("{\"a\": " + text + "}") == "a.json: a: expected an integer within 64 bits");
    CHECK(toml_error("a = " + text).rfind("a.toml: line 1", 0) == 0);
  }
  CHECK(json_error("1e999") == "a.json: line 1, column 5: expected well-formed JSON");
}

TEST_CASE("a date is refused: no key of ours is one", "[core][document]") {
  CHECK(toml_error("\na = 2026-11-22") ==
        "a.toml: line 2: expected a number, text, true, false, an array or a table, found a date");
}

TEST_CASE("a document may nest 100 levels and not 101", "[core][document]") {
  const auto json_arrays = [](int n) { return repeat("[", n) + repeat("]", n); };
  const auto json_objects = [](int n) { return repeat("{\"a\":", n) + "1" + repeat("}", n); };
  // The document's own table is the first level of TOML.
  const auto toml_arrays = [](int n) { return "a = " + repeat("[", n - 1) + repeat("]", n - 1); };
  const auto toml_tables = [](int n) {
    return "a = " + repeat("{a = ", n - 1) + "1" + repeat("}", n - 1);
  };
  const auto toml_keys = [](int n) { return "a" + repeat(".a", n - 1) + " = 1"; };
  const auto toml_header = [](int n) { return "[a" + repeat(".a", n - 2) + "]"; };
  CHECK_NOTHROW((void)parse_json(json_arrays(100), "a.json"));
  CHECK_NOTHROW((void)parse_json(json_objects(100), "a.json"));
  for (const auto& make : std::vector<std::function<std::string(int)>>{
           toml_arrays, toml_tables, toml_keys, toml_header}) {
    CHECK_NOTHROW((void)parse_toml(make(100), "a.toml"));
    for (const int levels : {101, 199, 1000, 200000}) {
      const std::string error = toml_error(make(levels));
      CHECK(error.rfind("a.toml: line 1", 0) == 0);
      CHECK(error.find("nested deeper than 100 levels") != std::string::npos);
    }
  }
  for (const int levels : {101, 200000}) {
    CHECK(json_error(json_arrays(levels)).find("nested deeper than 100") != std::string::npos);
    CHECK(json_error(json_objects(levels)).find("nested deeper than 100") != std::string::npos);
  }
}

TEST_CASE("dotted keys inside inline tables add up to the depth", "[core][document]") {
  const std::string level = "{a" + repeat(".a", 60) + " = ";
  CHECK_NOTHROW((void)parse_toml("b = " + level + "1}", "a.toml"));
  CHECK(toml_error("b = " + repeat(level, 2) + "1}}").find("nested deeper") != std::string::npos);
  CHECK(toml_error("b = " + repeat(level, 5000)).find("nested deeper") != std::string::npos);
}

TEST_CASE("dots in text, comments and lists of numbers are not depth", "[core][document]") {
  const std::string dots(1000, '.');
  CHECK_NOTHROW((void)parse_toml("a = \"" + dots + "\"", "a.toml"));
  CHECK_NOTHROW((void)parse_toml("a = '" + dots + "'", "a.toml"));
  CHECK_NOTHROW((void)parse_toml("a = \"\"\"\n\\\"" + dots + "\n\"\"\"", "a.toml"));
  CHECK_NOTHROW((void)parse_toml("a = '''\n'" + dots + "\n'''", "a.toml"));
  CHECK_NOTHROW((void)parse_toml("# " + dots + "\na = 1 # " + dots, "a.toml"));
  CHECK_NOTHROW((void)parse_toml("a = [" + repeat("1.5, ", 1000) + "]", "a.toml"));
  CHECK_NOTHROW((void)parse_toml("a = [" + repeat("[1.5],\n", 1000) + "]", "a.toml"));
  CHECK_NOTHROW((void)parse_toml(repeat("[[a.b]]\nx.y = 1.5\n", 1000), "a.toml"));
}

TEST_CASE("the extension of a file picks its syntax", "[core][document]") {
  const TemporaryFile toml("runflat_document_test.toml", "a = 1");
  const TemporaryFile json("runflat_document_test.json", "{\"a\": 1}");
  const TemporaryFile yaml("runflat_document_test.yaml", "a: 1");
  const TemporaryFile empty("runflat_document_test_empty.toml", "");
  CHECK(read_document(toml.path()) == read_document(json.path()));
  CHECK(read_document(empty.path()) == Value(Value::Object{}));
  CHECK(error_of([&] { return read_document(yaml.path()); }) ==
        yaml.path().string() + ": expected a file name that ends in .toml or .json");
}

TEST_CASE("a file that cannot be read is one error with its name", "[core][document]") {
  const std::filesystem::path folder = std::filesystem::temp_directory_path();
  for (const std::filesystem::path& path : {folder / "runflat_no_such_file.toml",
                                            folder,
                                            folder / std::string(5000, 'x'),
                                            folder / "runflat_no_such_folder" / "a.toml"}) {
    CHECK(error_of([&] { return read_text_file(path); }) == path.string() + ": cannot be read");
  }
}
