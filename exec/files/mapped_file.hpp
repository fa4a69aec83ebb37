#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace runflat::exec {

/// The bytes of a file, mapped read-only. Nothing is read before it is touched. The file must not
/// get shorter while it is mapped.
class MappedFile {
 public:
  /// ParseError when `path` is not a file that can be read.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile();

  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace runflat::exec
