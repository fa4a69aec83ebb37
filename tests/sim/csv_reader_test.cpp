#include "sim/csv_reader.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"

#include <random>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

using Rows = std::vector<std::vector<std::string>>;

Rows read_all(const std::string& text) {
  CsvReader csv{text, "t.csv"};
  Rows rows;
  while (csv.next()) {
    rows.emplace_back(csv.fields().begin(), csv.fields().end());
  }
  return rows;
}

std::string in_quotes(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    result += c == '"' ? "\"\"" : std::string(1, c);
  }
  return result + "\"";
}

}  // namespace

TEST_CASE("quoted fields of any text come back as they were", "[sim][csv_reader]") {
  constexpr std::string_view kAlphabet = "a,\"\n\r \t0";
  std::mt19937 generator{13};
  for (int round = 0; round < 500; ++round) {
    Rows rows(1 + generator() % 4);
    std::string text;
    for (std::vector<std::string>& row : rows) {
      row.resize(1 + generator() % 4);
      for (std::size_t i = 0; i < row.size(); ++i) {
        for (std::size_t length = generator() % 6; length > 0; --length) {
          row[i] += kAlphabet[generator() % kAlphabet.size()];
        }
        text += (i > 0 ? "," : "") + in_quotes(row[i]);
      }
      text += generator() % 2 == 0 ? "\n" : "\r\n";
    }
    REQUIRE(read_all(text) == rows);
  }
}

TEST_CASE("rows end in LF, CRLF or the end of the text", "[sim][csv_reader]") {
  const Rows expected{{"a", "b"}, {"1", ""}, {"", "2"}};
  CHECK(read_all("a,b\n1,\n,2\n") == expected);
  CHECK(read_all("a,b\r\n1,\r\n,2") == expected);
  CHECK(read_all("\xEF\xBB\xBF"
                 "a,b\n\n1,\n\r\n,2\n\n") == expected);
  CHECK(read_all(" a ,\tb\n1,\" \"\n").back().back() == " ");
  CHECK(read_all("").empty());
  CHECK(read_all("\n\n").empty());
}

TEST_CASE("a broken quote is refused with its row", "[sim][csv_reader]") {
  using Catch::Matchers::Contains;
  CHECK_THROWS_WITH(read_all("a\n\nb,\"c\n"), Contains("t.csv: row 3: expected a closing quote"));
  CHECK_THROWS_WITH(read_all("a\n\"b\"c\n"), Contains("t.csv: row 2: expected a comma"));
}
