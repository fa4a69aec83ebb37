#include "exec/data/indexed_dataset.hpp"

#include "core/error.hpp"
#include "exec/data/index_header.hpp"

#include <bit>
#include <cstdint>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <utility>

namespace runflat::exec {
namespace {

static_assert(std::endian::native == std::endian::little, "the files are little-endian");

template <typename T>
T value_at(std::span<const std::byte> bytes, std::size_t offset) {
  return PackedIntegers<T>(bytes.subspan(offset, sizeof(T)))[0];
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::filesystem::path with_suffix(const std::filesystem::path& prefix, const char* suffix) {
  std::filesystem::path path = prefix;
  path += suffix;
  return path;
}

}  // namespace

std::filesystem::path bin_path(const std::filesystem::path& prefix) {
  return with_suffix(prefix, ".bin");
}

std::filesystem::path idx_path(const std::filesystem::path& prefix) {
  return with_suffix(prefix, ".idx");
}

IndexedDataset::IndexedDataset(std::filesystem::path prefix)
    : prefix_(std::move(prefix)), idx_(idx_path(prefix_)), bin_(bin_path(prefix_)) {
  read_index();
  check_sequences();
  check_documents();
}

void IndexedDataset::read_index() {
  const std::span<const std::byte> bytes = idx_.bytes();
  const auto fail = [this](std::string_view where, const std::string& what) {
    throw ParseError(idx_path(prefix_).string(), where, what);
  };
  if (bytes.size() < kIndexHeaderSize) {
    fail("", fmt::format("expected at least {} bytes, found {}", kIndexHeaderSize, bytes.size()));
  }
  if (text_of(bytes.first(kIndexMagic.size())) != kIndexMagic) {
    fail("", "expected an index of Megatron's, which begins with MMIDIDX");
  }
  const auto version = value_at<std::uint64_t>(bytes, kIndexMagic.size());
  if (version != kIndexVersion) {
    fail("version", fmt::format("expected {}, found {}", kIndexVersion, version));
  }
  const auto code = value_at<std::uint8_t>(bytes, kIndexMagic.size() + 8);
  type_ = static_cast<TokenType>(code);
  if (to_string(type_).empty()) {
    fail("token type", fmt::format("expected 1-5 or 8, which are integers, found {}", code));
  }
  const auto num_sequences = value_at<std::uint64_t>(bytes, kIndexMagic.size() + 9);
  const auto num_indices = value_at<std::uint64_t>(bytes, kIndexMagic.size() + 17);
  const std::size_t room = bytes.size() - kIndexHeaderSize;
  // Compared with the room first, so that no product below overflows.
  const bool fits = num_sequences <= room && num_indices <= room;
  const std::size_t needed = fits ? num_sequences * (4 + 8) + num_indices * 8 : 0;
  if (!fits || (room != needed && room != needed + num_sequences)) {
    fail("",
         fmt::format("expected the bytes of {} sequences and {} document indices, found {} bytes",
                     num_sequences,
                     num_indices,
                     bytes.size()));
  }
  const std::span<const std::byte> arrays = bytes.subspan(kIndexHeaderSize);
  lengths_ = PackedIntegers<std::int32_t>(arrays.first(num_sequences * 4));
  pointers_ = PackedIntegers<std::int64_t>(arrays.subspan(num_sequences * 4, num_sequences * 8));
  document_indices_ =
      PackedIntegers<std::int64_t>(arrays.subspan(num_sequences * 12, num_indices * 8));
}

void IndexedDataset::check_sequences() {
  const auto size = static_cast<std::int64_t>(token_size(type_));
  const auto bin_size = static_cast<std::int64_t>(bin_.bytes().size());
  for (std::int64_t i = 0; i < num_sequences(); ++i) {
    const std::int64_t length = lengths_[i];
    const std::int64_t pointer = pointers_[i];
    if (length < 0) {
      throw ParseError(idx_path(prefix_).string(),
                       fmt::format("sequence {}", i),
                       fmt::format("expected a length of at least 0, found {}", length));
    }
    if (pointer < 0 || pointer > bin_size || length * size > bin_size - pointer) {
      throw ParseError(bin_path(prefix_).string(),
                       fmt::format("sequence {}", i),
                       fmt::format("expected {} bytes at byte {}, found a file of {} bytes",
                                   length * size,
                                   pointer,
                                   bin_size));
    }
    num_tokens_ += length;
  }
}

void IndexedDataset::check_documents() const {
  const auto fail = [this](std::int64_t i, const std::string& what) {
    throw ParseError(
        idx_path(prefix_).string(), fmt::format("document index {}", i), "expected " + what);
  };
  if (document_indices_.size() == 0 || document_indices_[0] != 0) {
    fail(0, "0");
  }
  for (std::int64_t i = 1; i < document_indices_.size(); ++i) {
    if (document_indices_[i] < document_indices_[i - 1]) {
      fail(i, fmt::format("at least {}, found {}", document_indices_[i - 1], document_indices_[i]));
    }
  }
  const std::int64_t last = document_indices_.size() - 1;
  if (document_indices_[last] != num_sequences()) {
    fail(last,
         fmt::format(
             "the number of sequences, {}, found {}", num_sequences(), document_indices_[last]));
  }
}

void IndexedDataset::read(std::int64_t sequence,
                          std::int64_t first,
                          std::span<std::int64_t> tokens) const {
  require(sequence >= 0 && sequence < num_sequences(), "no such sequence");
  const auto num = static_cast<std::int64_t>(tokens.size());
  require(first >= 0 && num <= lengths_[sequence] - first, "tokens beyond the sequence");
  with_token_type(type_, [&]<typename T>(T /*token*/) {
    const auto begin =
        static_cast<std::size_t>(pointers_[sequence]) + static_cast<std::size_t>(first) * sizeof(T);
    const PackedIntegers<T> stored(bin_.bytes().subspan(begin, tokens.size() * sizeof(T)));
    for (std::int64_t i = 0; i < num; ++i) {
      tokens[static_cast<std::size_t>(i)] = stored[i];
    }
  });
}

}  // namespace runflat::exec
