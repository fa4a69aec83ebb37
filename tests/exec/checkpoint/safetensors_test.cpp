#include "exec/checkpoint/safetensors.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/exec/data_files.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::exec;

namespace {

/// A file as the format says: the header's size, the header, the data.
std::string file_bytes(const std::string& header, const std::string& data) {
  std::string size(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) {
    size[i] = static_cast<char>(header.size() >> (8 * i));
  }
  return size + header + data;
}

std::string error_of(const std::filesystem::path& path, const std::string& bytes) {
  write_bytes(path, bytes);
  try {
    const SafetensorsFile file(path);
  } catch (const ParseError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a safetensors file is header size, header, and data without holes", "[exec][ckpt]") {
  const TemporaryDirectory folder;
  const std::filesystem::path path = folder.path() / "x.safetensors";
  const std::vector<SafetensorsTensor> tensors = {
      {"b", "F32", {1, 2}}, {"a", "U8", {3}}, {"e", "I64", {0, 7}}};
  SafetensorsWriter writer(path, tensors, {{"format", "pt"}});
  const std::vector<float> b = {1.5F, -2.0F};
  const std::string a = "xyz";
  writer.write(std::as_bytes(std::span(b)));
  writer.write(std::as_bytes(std::span(a)));
  writer.publish();
  std::string header = R"({"__metadata__":{"format":"pt"},)"
                       R"("b":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
                       R"("a":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},)"
                       R"("e":{"dtype":"I64","shape":[0,7],"data_offsets":[11,11]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::string data(reinterpret_cast<const char*>(b.data()), 8);
  CHECK(bytes_of(path) == file_bytes(header, data + a));

  const SafetensorsFile file(path);
  CHECK(file.tensors() == tensors);
  CHECK(file.metadata() == SafetensorsMetadata{{"format", "pt"}});
  CHECK(file.data(file.index_of("a")).size() == 3);
  CHECK(std::to_integer<char>(file.data(file.index_of("a"))[2]) == 'z');
  CHECK_THROWS_AS(file.index_of("c"), ParseError);
}

TEST_CASE("what is no safetensors file is refused in one line", "[exec][ckpt]") {
  const TemporaryDirectory folder;
  const std::filesystem::path path = folder.path() / "x.safetensors";
  const auto tensor = [](const std::string& dtype,
                         const std::string& shape,
                         const std::string& range) {
    return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + range + "}";
  };
  const std::string four = tensor("U8", "[4]", "[0,4]");
  REQUIRE(error_of(path, file_bytes(R"({"a":)" + four + "}", "1234")).empty());
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "at least 8 bytes"},
      {std::string("\xff\xff\xff\xff\xff\xff\xff\x7f", 8), "at most 100000000"},
      {file_bytes(R"({"a":)" + four + "}", "").substr(0, 20), "truncated"},
      {file_bytes("[]", ""), "JSON object"},
      {file_bytes(R"({"a":)", ""), "x.safetensors"},
      {file_bytes(R"({"a":)" + four + R"(,"a":)" + four + "}", "1234"), "x.safetensors"},
      {file_bytes(R"({"a":)" + four + "}", "123"), "truncated"},
      {file_bytes(R"({"a":)" + four + "}", "12345"), "expected 4 bytes of data, found 5"},
      {file_bytes(R"({"a":)" + tensor("F33", "[1]", "[0,4]") + "}", "1234"),
       "a type of the format"},
      {file_bytes(R"({"a":)" + tensor("F32", "[2]", "[0,4]") + "}", "1234"),
       "do not fit the shape"},
      {file_bytes(R"({"a":)" + tensor("F32", "[-1]", "[0,4]") + "}", "1234"), "shape"},
      {file_bytes(R"({"a":)" + tensor("U8", "[4294967296,4294967296,16]", "[0,4]") + "}", "1234"),
       "do not fit the shape"},
      {file_bytes(R"({"a":)" + tensor("U8", "[4]", "[4,0]") + "}", "1234"), "a begin and an end"},
      {file_bytes(R"({"a":)" + tensor("U8", "[3]", "[1,4]") + "}", "1234"), "leave a hole"},
      {file_bytes(R"({"a":)" + four + R"(,"b":)" + tensor("U8", "[2]", "[2,4]") + "}", "1234"),
       "overlap"},
      {file_bytes(R"({"__metadata__":{"a":1},"a":)" + four + "}", "1234"), "__metadata__"},
  };
  for (const auto& [bytes, expected] : cases) {
    const std::string error = error_of(path, bytes);
    CAPTURE(error, expected);
    CHECK(error.find(expected) != std::string::npos);
    CHECK(error.find('\n') == std::string::npos);
  }
}

TEST_CASE("a file is published with all its data, or not at all", "[exec][ckpt]") {
  const TemporaryDirectory folder;
  const std::filesystem::path path = folder.path() / "x.safetensors";
  {
    SafetensorsWriter writer(path, {{"a", "U8", {4}}});
    const std::string data = "123";
    writer.write(std::as_bytes(std::span(data)));
    CHECK_THROWS_AS(writer.publish(), InvalidArgument);
    CHECK_THROWS_AS(writer.write(std::as_bytes(std::span(data))), InvalidArgument);
  }
  CHECK(folder.names().empty());
}
