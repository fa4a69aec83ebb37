#include "exec/checkpoint/safetensors.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "core/reader.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fmt/format.h>
#include <limits>
#include <numeric>
#include <optional>

namespace runflat::exec {
namespace {

static_assert(std::endian::native == std::endian::little, "the files are little-endian");

constexpr std::size_t kPrefixSize = 8;
constexpr std::uint64_t kMostHeaderBytes = 100'000'000;  // of the format's own reader
constexpr std::size_t kHeaderAlignment = 8;
constexpr std::string_view kMetadata = "__metadata__";
constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

struct NamedSize {
  std::string_view name;
  std::int64_t size = 0;
};
constexpr std::array<NamedSize, 16> kElementSizes = {{{"BOOL", 1},
                                                      {"U8", 1},
                                                      {"I8", 1},
                                                      {"F8_E4M3", 1},
                                                      {"F8_E5M2", 1},
                                                      {"F8_E8M0", 1},
                                                      {"I16", 2},
                                                      {"U16", 2},
                                                      {"F16", 2},
                                                      {"BF16", 2},
                                                      {"I32", 4},
                                                      {"U32", 4},
                                                      {"F32", 4},
                                                      {"I64", 8},
                                                      {"U64", 8},
                                                      {"F64", 8}}};

/// Bytes of a tensor; nothing where they are beyond 64 bits.
std::optional<std::int64_t> num_bytes(const SafetensorsTensor& tensor) {
  std::int64_t bytes = safetensors_element_size(tensor.dtype);
  const bool is_empty =
      std::find(tensor.shape.begin(), tensor.shape.end(), 0) != tensor.shape.end();
  for (const std::int64_t size : tensor.shape) {
    if (!is_empty && bytes > kMost / size) {
      return std::nullopt;
    }
    bytes = is_empty ? 0 : bytes * size;
  }
  return bytes;
}

struct Entry {
  SafetensorsTensor tensor;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

Entry read_entry(std::string name, const Reader& in) {
  ObjectReader members = in.object();
  Entry entry;
  entry.tensor.name = std::move(name);
  entry.tensor.dtype = members.at("dtype").text();
  if (safetensors_element_size(entry.tensor.dtype) == 0) {
    members.at("dtype").fail("a type of the format, such as F32 or BF16");
  }
  entry.tensor.shape = members.at("shape").integers(0, kMost);
  const Reader offsets = members.at("data_offsets");
  const std::vector<std::int64_t> range = offsets.integers(0, kMost);
  if (range.size() != 2 || range[0] > range[1]) {
    offsets.fail("a begin and an end");
  }
  members.finish();
  entry.begin = range[0];
  entry.end = range[1];
  const std::optional<std::int64_t> bytes = num_bytes(entry.tensor);
  if (!bytes || *bytes != entry.end - entry.begin) {
    in.reject(fmt::format("{} bytes of data do not fit the shape and {}",
                          entry.end - entry.begin,
                          entry.tensor.dtype));
  }
  return entry;
}

std::string header_text(const std::vector<SafetensorsTensor>& tensors,
                        const SafetensorsMetadata& metadata) {
  Value::Object header;
  if (!metadata.empty()) {
    Value::Object texts;
    for (const auto& [key, text] : metadata) {
      texts.emplace_back(key, text);
    }
    header.emplace_back(std::string(kMetadata), std::move(texts));
  }
  std::int64_t offset = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    const std::int64_t end = offset + num_bytes(tensor).value();
    header.emplace_back(
        tensor.name,
        Value::Object{{"dtype", tensor.dtype},
                      {"shape", Value::array_of(tensor.shape)},
                      {"data_offsets", Value::array_of(std::vector<std::int64_t>{offset, end})}});
    offset = end;
  }
  std::string text = to_json_text(Value(std::move(header)), -1);
  text.pop_back();  // the newline
  text.resize((text.size() + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment, ' ');
  return text;
}

}  // namespace

std::int64_t safetensors_element_size(std::string_view dtype) {
  const auto* const found = std::find_if(kElementSizes.begin(),
                                         kElementSizes.end(),
                                         [dtype](const NamedSize& it) { return it.name == dtype; });
  return found == kElementSizes.end() ? 0 : found->size;
}

SafetensorsFile::SafetensorsFile(std::filesystem::path path)
    : path_(std::move(path)), file_(path_) {
  const std::span<const std::byte> bytes = file_.bytes();
  const auto fail = [this](const std::string& what) {
    throw ParseError(path_.string(), "header", what);
  };
  if (bytes.size() < kPrefixSize) {
    fail(fmt::format("expected at least {} bytes, found {}", kPrefixSize, bytes.size()));
  }
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), kPrefixSize);
  if (header_bytes > kMostHeaderBytes) {
    fail(fmt::format("{} bytes, expected at most {}", header_bytes, kMostHeaderBytes));
  }
  if (header_bytes > bytes.size() - kPrefixSize) {
    fail(fmt::format("{} bytes, found only {}: the file is truncated",
                     header_bytes,
                     bytes.size() - kPrefixSize));
  }
  const auto header = bytes.subspan(kPrefixSize, header_bytes);
  const std::string_view text(reinterpret_cast<const char*>(header.data()), header.size());
  if (text.empty() || text.front() != '{') {
    fail("expected a JSON object");
  }
  data_ = bytes.subspan(kPrefixSize + header_bytes);
  read_header(text);
}

void SafetensorsFile::read_header(std::string_view text) {
  const Value header = parse_json(text, path_.string());
  std::vector<Entry> entries;
  for (const auto& [name, value] : *header.get_if<Value::Object>()) {
    const Reader member(value, path_.string(), name);
    if (name == kMetadata) {
      ObjectReader texts = member.object();
      for (const std::string& key : member.keys()) {
        metadata_.emplace_back(key, texts.at(key).text());
      }
    } else {
      entries.push_back(read_entry(name, member));
    }
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::int64_t end = 0;
  for (Entry& entry : entries) {
    if (entry.begin != end) {
      throw ParseError(path_.string(),
                       entry.tensor.name,
                       fmt::format("data from byte {}, expected from {}: tensors {}",
                                   entry.begin,
                                   end,
                                   entry.begin < end ? "overlap" : "leave a hole"));
    }
    end = entry.end;
    ends_.push_back(end);
    index_.emplace(entry.tensor.name, tensors_.size());
    tensors_.push_back(std::move(entry.tensor));
  }
  if (static_cast<std::uint64_t>(end) != data_.size()) {
    throw ParseError(
        path_.string(),
        "",
        fmt::format(
            "expected {} bytes of data, found {}{}",
            end,
            data_.size(),
            static_cast<std::uint64_t>(end) > data_.size() ? ": the file is truncated" : ""));
  }
}

std::size_t SafetensorsFile::index_of(std::string_view name) const {
  const auto found = index_.find(name);
  if (found == index_.end()) {
    throw ParseError(path_.string(), name, "expected a tensor of this name, found none");
  }
  return found->second;
}

std::span<const std::byte> SafetensorsFile::data(std::size_t tensor) const {
  const std::int64_t begin = tensor == 0 ? 0 : ends_.at(tensor - 1);
  return data_.subspan(static_cast<std::size_t>(begin),
                       static_cast<std::size_t>(ends_.at(tensor) - begin));
}

SafetensorsWriter::SafetensorsWriter(std::filesystem::path path,
                                     const std::vector<SafetensorsTensor>& tensors,
                                     const SafetensorsMetadata& metadata)
    : file_(std::move(path)) {
  const std::string header = header_text(tensors, metadata);
  require(header.size() <= kMostHeaderBytes, "the header is too long for the format");
  const std::uint64_t size = header.size();
  file_.write(std::as_bytes(std::span(&size, 1)));
  file_.write(std::as_bytes(std::span(header)));
  for (const SafetensorsTensor& tensor : tensors) {
    missing_ += num_bytes(tensor).value();
  }
}

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  missing_ -= static_cast<std::int64_t>(bytes.size());
  require(missing_ >= 0, "more data than the tensors have");
  file_.write(bytes);
}

void SafetensorsWriter::publish() {
  require(missing_ == 0, "less data than the tensors have");
  file_.publish();
}

}  // namespace runflat::exec
