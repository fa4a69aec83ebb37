#pragma once

#include "exec/indexed_dataset.hpp"
#include "exec/indexed_dataset_writer.hpp"

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace runflat::exec {

/// An empty folder of its own that goes away with the value.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "runflat-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

 private:
  std::filesystem::path path_;
};

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
