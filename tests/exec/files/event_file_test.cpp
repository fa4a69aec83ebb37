#include "exec/files/event_file.hpp"

#include "tests/catch.hpp"
#include "tests/exec/data_files.hpp"

#include <cstring>

using namespace runflat::exec;

namespace {

template <typename T>
T number_at(const std::string& bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

/// The contents of the records, after checking what frames them.
std::vector<std::string> records_of(const std::string& bytes) {
  std::vector<std::string> records;
  for (std::size_t at = 0; at < bytes.size();) {
    const auto length = number_at<std::uint64_t>(bytes, at);
    REQUIRE(number_at<std::uint32_t>(bytes, at + 8) == masked_crc32c(bytes.substr(at, 8)));
    records.push_back(bytes.substr(at + 12, length));
    REQUIRE(number_at<std::uint32_t>(bytes, at + 12 + length) == masked_crc32c(records.back()));
    at += length + 16;
  }
  return records;
}

}  // namespace

TEST_CASE("CRC-32C has its published values", "[exec][log]") {
  CHECK(crc32c("123456789") == 0xe3069283);              // the catalogue's check value
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aa);    // RFC 3720, B.4
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43);  // the same
}

TEST_CASE("events are protocol buffers in framed records", "[exec][log]") {
  const TemporaryDirectory folder;
  {
    EventFile events(folder.path() / "new" / "run");
    events.add(300, {{"lm loss", 0.5}, {"b", 2.0}});
  }
  const std::filesystem::path run = folder.path() / "new" / "run";
  const auto file = std::filesystem::directory_iterator(run)->path();
  CHECK(file.filename().string().starts_with("events.out.tfevents."));
  const std::vector<std::string> records = records_of(bytes_of(file));
  REQUIRE(records.size() == 2);
  // wall_time (field 1, fixed64), then the rest.
  using namespace std::string_literals;
  CHECK(records[0][0] == '\x09');
  CHECK(records[0].substr(9) ==
        "\x1a\x0d"
        "brain.Event:2"s);  // field 3: file_version
  CHECK(records[1].substr(9) ==
        "\x10\xac\x02"                                 // field 2: step 300
        "\x2a\x1a"                                     // field 5: summary of 26 bytes
        "\x0a\x0e\x0a\x07lm loss\x15\x00\x00\x00\x3f"  // value: tag, simple_value 0.5
        "\x0a\x08\x0a\x01"
        "b\x15\x00\x00\x00\x40"s);
}
