#include "exec/data/indexed_dataset.hpp"

#include "core/error.hpp"
#include "exec/data/index_header.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"
#include "tests/exec/data_files.hpp"

#include <cstring>
#include <limits>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::exec;

namespace {

constexpr std::int64_t kSequences = 3;
constexpr std::size_t kLengths = kIndexHeaderSize;
constexpr std::size_t kPointers = kLengths + 4 * kSequences;
constexpr std::size_t kDocuments = kPointers + 8 * kSequences;

/// The files of [1 2] [3] [4 5 6] in int32, to be damaged.
struct Files {
  Files() {
    write_documents(prefix(), {{1, 2}, {3}, {4, 5, 6}});
    idx = bytes_of(idx_path(prefix()));
    bin = bytes_of(bin_path(prefix()));
  }
  [[nodiscard]] std::filesystem::path prefix() const { return folder.path() / "text"; }

  template <typename T>
  void put(std::size_t offset, T value) {
    std::memcpy(idx.data() + offset, &value, sizeof value);
  }

  /// What reading the files says; empty where it says nothing.
  [[nodiscard]] std::string complaint() const {
    write_bytes(idx_path(prefix()), idx);
    write_bytes(bin_path(prefix()), bin);
    try {
      const IndexedDataset data(prefix());
      return "";
    } catch (const ParseError& error) {
      return error.what();
    }
  }

  TemporaryDirectory folder;
  std::string idx;
  std::string bin;
};

void check_complaint(const Files& files, const std::string& suffix, const std::string& expected) {
  const std::string complaint = files.complaint();
  INFO(complaint);
  CHECK(complaint.find(files.prefix().string() + suffix + ": ") == 0);
  CHECK(complaint.find(expected) != std::string::npos);
}

}  // namespace

TEST_CASE("documents of every token type are read back", "[exec][data]") {
  tests::Dice dice(5);
  const TokenType type = GENERATE(TokenType::uint8,
                                  TokenType::int8,
                                  TokenType::int16,
                                  TokenType::uint16,
                                  TokenType::int32,
                                  TokenType::int64);
  const auto [least, most] = with_token_type(type, []<typename T>(T /*token*/) {
    return std::pair<std::int64_t, std::int64_t>(std::numeric_limits<T>::min(),
                                                 std::numeric_limits<T>::max());
  });
  Documents documents = {{least, most, 0}};
  for (int i = 0; i < 40; ++i) {
    documents.emplace_back(dice.index(7));  // some are empty
    for (std::int64_t& token : documents.back()) {
      token = dice.pick<std::int64_t>({least, most, 1, 100});
    }
  }
  const TemporaryDirectory folder;
  const IndexedDataset data = write_documents(folder.path() / "text", documents, type);
  CHECK(data.token_type() == type);
  REQUIRE(data.num_documents() == static_cast<std::int64_t>(documents.size()));
  std::int64_t num_tokens = 0;
  for (std::int64_t i = 0; i < data.num_documents(); ++i) {
    std::vector<std::int64_t> tokens;
    for (auto s = data.first_sequence(i); s < data.first_sequence(i + 1); ++s) {
      tokens.resize(static_cast<std::size_t>(data.sequence_length(s)));
      data.read(s, 0, tokens);
      std::vector<std::int64_t> tail(tokens.size() - 1);
      data.read(s, 1, tail);
      CHECK(std::equal(tail.begin(), tail.end(), tokens.begin() + 1));
    }
    CHECK(tokens == documents[static_cast<std::size_t>(i)]);
    num_tokens += static_cast<std::int64_t>(tokens.size());
  }
  CHECK(data.num_tokens() == num_tokens);
}

TEST_CASE("no data and modes of sequences are as good as any", "[exec][data]") {
  const TemporaryDirectory folder;
  const IndexedDataset none = write_documents(folder.path() / "none", {});
  CHECK(none.num_documents() == 0);
  CHECK(none.num_tokens() == 0);
  Files files;
  files.idx += std::string(kSequences, '\1');
  CHECK(files.complaint().empty());
}

TEST_CASE("a damaged header is named", "[exec][data]") {
  Files files;
  SECTION("magic") {
    files.idx[3] = 'X';
    check_complaint(files, ".idx", "MMIDIDX");
  }
  SECTION("version") {
    files.put(9, std::uint64_t{2});
    check_complaint(files, ".idx", "version: expected 1, found 2");
  }
  SECTION("token type") {
    const int code = GENERATE(0, 6, 7, 9, 255);
    files.put(17, static_cast<std::uint8_t>(code));
    check_complaint(files, ".idx", "found " + std::to_string(code));
  }
  SECTION("counts") {
    const std::uint64_t num = GENERATE(0U, 2U, 4U, ~std::uint64_t{0}, std::uint64_t{1} << 61U);
    files.put(18, num);
    check_complaint(files, ".idx", std::to_string(num) + " sequences");
  }
  SECTION("number of document indices") {
    const std::uint64_t num = GENERATE(0U, 5U, ~std::uint64_t{0}, std::uint64_t{1} << 61U);
    files.put(26, num);
    check_complaint(files, ".idx", std::to_string(num) + " document indices");
  }
}

TEST_CASE("an index cut short or grown at any byte is refused", "[exec][data]") {
  Files files;
  const std::string whole = files.idx;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    files.idx = whole.substr(0, size);
    check_complaint(files, ".idx", "expected");
  }
  files.idx = whole + "x";
  check_complaint(files, ".idx", "expected");
}

TEST_CASE("damaged entries of an index are named", "[exec][data]") {
  Files files;
  SECTION("a negative length") {
    files.put(kLengths + 4, std::int32_t{-1});
    check_complaint(files, ".idx", "sequence 1: expected a length of at least 0, found -1");
  }
  SECTION("a length beyond the tokens") {
    files.put(kLengths + 8, std::int32_t{4});
    check_complaint(files, ".bin", "sequence 2: expected 16 bytes at byte 12");
  }
  SECTION("a pointer outside the tokens") {
    const std::int64_t pointer = GENERATE(-4, 25, std::numeric_limits<std::int64_t>::max(), 16);
    files.put(kPointers + 16, pointer);
    check_complaint(files, ".bin", "at byte " + std::to_string(pointer));
  }
  SECTION("documents that do not begin at 0") {
    files.put(kDocuments, std::int64_t{1});
    check_complaint(files, ".idx", "document index 0: expected 0");
  }
  SECTION("documents out of order") {
    files.put(kDocuments + 8, std::int64_t{3});
    check_complaint(files, ".idx", "document index 2: expected at least 3, found 2");
  }
  SECTION("documents that end elsewhere") {
    files.put(kDocuments + 24, std::int64_t{4});
    check_complaint(files, ".idx", "document index 3: expected the number of sequences, 3");
  }
  SECTION("tokens cut short") {
    files.bin.pop_back();
    check_complaint(files, ".bin", "found a file of 23 bytes");
  }
}

TEST_CASE("whatever the index holds, all that it lets through can be read", "[exec][data]") {
  tests::Dice dice(12);
  Files files;
  const std::string whole = files.idx;
  int num_refused = 0;
  for (int round = 0; round < 500; ++round) {
    files.idx = whole;
    for (std::int64_t i = dice.between(1, 3); i > 0; --i) {
      files.idx[dice.index(whole.size())] = static_cast<char>(dice.between(0, 255));
    }
    if (!files.complaint().empty()) {
      ++num_refused;
      continue;
    }
    const IndexedDataset data(files.prefix());
    for (std::int64_t i = 0; i < data.num_sequences(); ++i) {
      std::vector<std::int64_t> tokens(static_cast<std::size_t>(data.sequence_length(i)));
      data.read(i, 0, tokens);
    }
  }
  CHECK(num_refused > 400);
}

TEST_CASE("files that cannot be read are named", "[exec][data]") {
  const Files files;
  std::filesystem::remove(bin_path(files.prefix()));
  CHECK_THROWS_WITH(IndexedDataset(files.prefix()),
                    files.prefix().string() + ".bin: cannot be read: No such file or directory");
  std::filesystem::create_directory(bin_path(files.prefix()));
  CHECK_THROWS_WITH(IndexedDataset(files.prefix()),
                    files.prefix().string() + ".bin: expected a regular file");
  CHECK_THROWS_AS(IndexedDataset("/nowhere/text"), ParseError);
}
