#pragma once

#include "exec/data/indexed_dataset.hpp"
#include "exec/data/indexed_dataset_writer.hpp"
#include "tests/exec/temporary_directory.hpp"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace runflat::exec {

using tests::TemporaryDirectory;

[[nodiscard]] inline std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

using Documents = std::vector<std::vector<std::int64_t>>;

inline IndexedDataset write_documents(const std::filesystem::path& prefix,
                                      const Documents& documents,
                                      TokenType type = TokenType::int32) {
  IndexedDatasetWriter writer(prefix, type);
  for (const auto& document : documents) {
    writer.add_document(document);
  }
  writer.publish();
  return IndexedDataset(prefix);
}

}  // namespace runflat::exec
