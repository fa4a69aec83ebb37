#pragma once

#include "exec/data/token_type.hpp"
#include "exec/files/mapped_file.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>

namespace runflat::exec {

/// `PREFIX.bin` and `PREFIX.idx`.
[[nodiscard]] std::filesystem::path bin_path(const std::filesystem::path& prefix);
[[nodiscard]] std::filesystem::path idx_path(const std::filesystem::path& prefix);

/// Little-endian integers somewhere in a file, at any alignment: the lengths of an `.idx` file
/// begin at byte 34.
template <typename T>
class PackedIntegers {
 public:
  PackedIntegers() = default;
  explicit PackedIntegers(std::span<const std::byte> bytes) : bytes_(bytes) {}

  [[nodiscard]] std::int64_t size() const {
    return static_cast<std::int64_t>(bytes_.size() / sizeof(T));
  }
  [[nodiscard]] T operator[](std::int64_t i) const {
    T value;
    std::memcpy(&value, bytes_.data() + static_cast<std::size_t>(i) * sizeof(T), sizeof(T));
    return value;
  }

 private:
  std::span<const std::byte> bytes_;
};

/// Tokenized text in Megatron's format, mapped and not loaded. Documents are consecutive runs of
/// sequences; training samples are cut from sequences (training-engine.md §1.16):
///
///   PREFIX.idx   "MMIDIDX\0\0", u64 version 1, u8 token type, u64 sequences, u64 document indices,
///                i32 lengths[sequences] in tokens, i64 pointers[sequences] in bytes of the .bin,
///                i64 document_indices[...]: first sequence of every document and the end;
///                optionally i8 modes[sequences], which are ignored
///   PREFIX.bin   the tokens
///
/// All checks happen in the constructor: ParseError names the file and what was expected. Reading
/// from several threads is safe.
class IndexedDataset {
 public:
  explicit IndexedDataset(std::filesystem::path prefix);

  [[nodiscard]] const std::filesystem::path& prefix() const { return prefix_; }
  [[nodiscard]] TokenType token_type() const { return type_; }
  [[nodiscard]] std::int64_t num_sequences() const { return lengths_.size(); }
  [[nodiscard]] std::int64_t num_documents() const { return document_indices_.size() - 1; }
  [[nodiscard]] std::int64_t num_tokens() const { return num_tokens_; }
  [[nodiscard]] std::int32_t sequence_length(std::int64_t sequence) const {
    return lengths_[sequence];
  }
  /// First sequence of a document; num_sequences() for document == num_documents().
  [[nodiscard]] std::int64_t first_sequence(std::int64_t document) const {
    return document_indices_[document];
  }

  /// Fills `tokens` with those of a sequence from its token `first` on; all lie in the sequence.
  void read(std::int64_t sequence, std::int64_t first, std::span<std::int64_t> tokens) const;

 private:
  void read_index();
  void check_sequences();
  void check_documents() const;

  std::filesystem::path prefix_;
  MappedFile idx_;
  MappedFile bin_;
  TokenType type_ = TokenType::int32;
  PackedIntegers<std::int32_t> lengths_;
  PackedIntegers<std::int64_t> pointers_;
  PackedIntegers<std::int64_t> document_indices_;
  std::int64_t num_tokens_ = 0;
};

}  // namespace runflat::exec
