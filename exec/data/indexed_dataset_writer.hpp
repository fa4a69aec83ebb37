#pragma once

#include "exec/data/token_type.hpp"
#include "exec/files/new_file.hpp"

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace runflat::exec {

/// Writes `PREFIX.bin` and `PREFIX.idx` (indexed_dataset.hpp), byte for byte what Megatron's
/// IndexedDatasetBuilder writes. Without publish() nothing is left behind. What the system refuses
/// is a std::filesystem::filesystem_error.
class IndexedDatasetWriter {
 public:
  IndexedDatasetWriter(std::filesystem::path prefix, TokenType type);

  /// Appends a document of one sequence; of none when there are no tokens, as Megatron's
  /// preprocessing does. InvalidArgument for a token that the type does not hold.
  void add_document(std::span<const std::int64_t> tokens);

  /// Brings both files onto the disk, then under their names, the `.idx` last and an older one
  /// removed first: a machine that dies in between leaves no pair that does not belong together.
  void publish();

 private:
  void write_index();

  std::filesystem::path prefix_;
  TokenType type_;
  NewFile bin_;
  NewFile idx_;
  std::vector<std::int32_t> lengths_;
  std::vector<std::int64_t> document_indices_ = {0};
};

}  // namespace runflat::exec
