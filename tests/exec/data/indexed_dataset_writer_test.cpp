#include "exec/data/indexed_dataset_writer.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/exec/data_files.hpp"
#include "tests/sim/golden_table.hpp"

#include <algorithm>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::exec;

namespace {

/// The bytes of the lines of a golden file that begin with `name`, up to a comment.
std::string golden_bytes(const std::string& name) {
  std::string bytes;
  for (const auto& row : sim::read_golden("indexed_dataset.txt")) {
    for (std::size_t i = 1; row[0] == name && i < row.size() && row[i] != "#"; ++i) {
      bytes += static_cast<char>(std::stoi(row[i], nullptr, 16));
    }
  }
  return bytes;
}

}  // namespace

TEST_CASE("the files are Megatron's to the byte", "[exec][data]") {
  const TemporaryDirectory folder;
  write_documents(folder.path() / "text", {{5, 0, 65535}, {}, {258}}, TokenType::uint16);
  CHECK(bytes_of(folder.path() / "text.idx") == golden_bytes("idx"));
  CHECK(bytes_of(folder.path() / "text.bin") == golden_bytes("bin"));
  CHECK(folder.names().size() == 2);
}

TEST_CASE("the token type follows the vocabulary", "[exec][data]") {
  CHECK(token_type_for(257) == TokenType::uint16);
  CHECK(token_type_for(65499) == TokenType::uint16);
  CHECK(token_type_for(65500) == TokenType::int32);
  CHECK(token_type_for(128256) == TokenType::int32);
}

TEST_CASE("a token that its type cannot hold is refused", "[exec][data]") {
  const TemporaryDirectory folder;
  {
    IndexedDatasetWriter writer(folder.path() / "text", TokenType::uint16);
    CHECK_THROWS_AS(writer.add_document(std::vector<std::int64_t>{1, 65536}), InvalidArgument);
    CHECK_THROWS_AS(writer.add_document(std::vector<std::int64_t>{-1}), InvalidArgument);
  }
  CHECK(folder.names().empty());
}

TEST_CASE("an older pair stays until the new one is whole", "[exec][data]") {
  const TemporaryDirectory folder;
  const std::filesystem::path prefix = folder.path() / "text";
  write_documents(prefix, {{1, 2}});
  {
    IndexedDatasetWriter writer(prefix, TokenType::int64);
    writer.add_document(std::vector<std::int64_t>{7});
  }
  CHECK(IndexedDataset(prefix).num_tokens() == 2);
  CHECK(folder.names().size() == 2);
  CHECK(write_documents(prefix, {{7}, {8, 9}}).num_tokens() == 3);
  CHECK(folder.names().size() == 2);
}
