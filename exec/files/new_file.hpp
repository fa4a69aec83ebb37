#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace runflat::exec {

/// A file that appears under its name whole or not at all: it is written under a temporary name in
/// the same folder, synced and renamed. Without publish() nothing is left behind. What the system
/// refuses (no such folder, disk full) is a std::filesystem::filesystem_error with the file's name.
class NewFile {
 public:
  explicit NewFile(std::filesystem::path path);
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile();

  void write(std::span<const std::byte> bytes);
  /// Brings everything written so far onto the disk; the file keeps its temporary name.
  void sync();
  /// Syncs, then replaces whatever has the file's name; once, and last of all.
  void publish();

 private:
  [[noreturn]] void fail(const std::string& what) const;
  void flush();

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::string pending_;  // written to the descriptor in large pieces
  int descriptor_ = -1;
};

/// A whole file at once.
void write_new_file(const std::filesystem::path& path, std::string_view text);

}  // namespace runflat::exec
