#include "core/reader.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "tests/catch.hpp"

#include <functional>
#include <limits>

using namespace runflat;

namespace {

/// The text of the ParseError that `read` throws.
std::string error_of(const std::function<void()>& read) {
  try {
    read();
  } catch (const ParseError& error) {
    return error.what();
  }
  return "no error";
}

std::string error_at(const Value& value, const std::function<void(const Reader&)>& read) {
  return error_of([&] { read(Reader(value, "a.toml", "cluster.x")); });
}

}  // namespace

TEST_CASE("a reading error names the file, the key path, what was expected and what was found",
          "[core][reader]") {
  const auto boolean = [](const Reader& in) { (void)in.boolean(); };
  const auto integer = [](const Reader& in) { (void)in.integer(); };
  const auto count = [](const Reader& in) { (void)in.integer(1); };
  const auto percent = [](const Reader& in) { (void)in.integer(0, 100); };
  const auto number = [](const Reader& in) { (void)in.number(0.0, 1.0); };
  const auto positive = [](const Reader& in) { (void)in.positive_number(); };
  const auto text = [](const Reader& in) { (void)in.text(); };
  const auto choice = [](const Reader& in) { (void)in.choice({"gpt", "llama"}); };
  const auto items = [](const Reader& in) { (void)in.items(); };
  const auto object = [](const Reader& in) { (void)in.object(); };

  CHECK(error_at(1, boolean) == "a.toml: cluster.x: expected true or false, found 1");
  CHECK(error_at("8", integer) == "a.toml: cluster.x: expected an integer, found '8'");
  CHECK(error_at(8.0, integer) == "a.toml: cluster.x: expected an integer, found 8.0");
  CHECK(error_at(-3, count) == "a.toml: cluster.x: expected an integer of at least 1, found -3");
  CHECK(error_at(101, percent) ==
        "a.toml: cluster.x: expected an integer from 0 to 100, found 101");
  CHECK(error_at(1.5, number) == "a.toml: cluster.x: expected a number from 0 to 1, found 1.5");
  CHECK(error_at(true, number) == "a.toml: cluster.x: expected a number from 0 to 1, found true");
  CHECK(error_at(0, positive) == "a.toml: cluster.x: expected a number above 0, found 0");
  CHECK(error_at(-0.5, positive) == "a.toml: cluster.x: expected a number above 0, found -0.5");
  CHECK(error_at(Value(), text) == "a.toml: cluster.x: expected text, found nothing");
  CHECK(error_at("bert", choice) == "a.toml: cluster.x: expected one of gpt, llama, found 'bert'");
  CHECK(error_at(3, choice) == "a.toml: cluster.x: expected one of gpt, llama, found 3");
  CHECK(error_at(Value::Object{}, items) == "a.toml: cluster.x: expected an array, found a table");
  CHECK(error_at(Value::Array{}, object) == "a.toml: cluster.x: expected a table, found an array");
}

TEST_CASE("values inside their bounds are read, the bounds included", "[core][reader]") {
  const Value one(1);
  const Reader in(one, "a.toml");
  CHECK(in.integer(1, 1) == 1);
  CHECK(in.number(1.0, 1.0) == 1.0);
  CHECK(in.positive_number() == 1.0);
  const Value text("llama");
  CHECK(Reader(text, "a.toml").choice({"gpt", "llama"}) == 1);
  const Value largest(std::numeric_limits<std::int64_t>::max());
  CHECK(Reader(largest, "a.toml").integer() == std::numeric_limits<std::int64_t>::max());
}

TEST_CASE("NaN and infinity are no numbers", "[core][reader]") {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(),
                           std::numeric_limits<double>::infinity(),
                           -std::numeric_limits<double>::infinity()}) {
    const Value value(bad);
    CHECK_THROWS_AS(Reader(value, "a.toml").number(), ParseError);
    CHECK_THROWS_AS(Reader(value, "a.toml").positive_number(), ParseError);
  }
}

TEST_CASE("the path of an array's items counts from 0", "[core][reader]") {
  const Value value = Value::Object{{"runs", Value::Array{4, 5, "six"}}};
  ObjectReader members = Reader(value, "a.toml").object();
  CHECK(members.at("runs").items().at(1).path() == "runs.1");
  CHECK(error_of([&] { (void)members.at("runs").integers(0, 9); }) ==
        "a.toml: runs.2: expected an integer from 0 to 9, found 'six'");
  CHECK(error_of([&] { (void)members.at("runs").integers(5, 9); }) ==
        "a.toml: runs.0: expected an integer from 5 to 9, found 4");
}

TEST_CASE("a missing member and a member that nobody asked for are errors with their path",
          "[core][reader]") {
  const Value value = parse_toml("[job]\ndegree = 8\ndegre = 7\n", "a.toml");
  ObjectReader document = Reader(value, "a.toml").object();
  ObjectReader job = document.at("job").object();
  CHECK(job.at("degree").integer() == 8);
  CHECK(error_of([&] { (void)job.at("rate"); }) == "a.toml: job.rate: is missing");
  CHECK_FALSE(job.find("share").has_value());
  CHECK(error_of([&] { job.finish(); }) ==
        "a.toml: job.degre: unknown key; known here: degree, rate, share");
  CHECK(job.find("degre").has_value());
  CHECK_NOTHROW(job.finish());
  CHECK_NOTHROW(document.finish());
}

TEST_CASE("an absent member takes its fallback, a present one never does", "[core][reader]") {
  const Value value = Value::Object{{"a", 5}, {"b", "five"}};
  ObjectReader members = Reader(value, "a.toml").object();
  const auto read = [](const Reader& in) { return in.integer(); };
  CHECK(read_or(members, "a", std::int64_t{7}, read) == 5);
  CHECK(read_or(members, "c", std::int64_t{7}, read) == 7);
  CHECK_THROWS_AS(read_or(members, "b", std::int64_t{7}, read), ParseError);
}

TEST_CASE("an error is one line, whatever the text it quotes", "[core][reader]") {
  const Value value = Value::Object{{"two\nlines", "a\tb\x7f"}};
  ObjectReader members = Reader(value, "a.toml").object();
  CHECK(error_of([&] { members.finish(); }) == "a.toml: two\\x0alines: unknown key; known here: ");
  CHECK(error_of([&] { (void)members.at("two\nlines").integer(); }) ==
        "a.toml: two\\x0alines: expected an integer, found 'a\\x09b\\x7f'");
}
