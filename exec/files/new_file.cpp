#include "exec/files/new_file.hpp"

#include "core/error.hpp"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <string_view>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace runflat::exec {
namespace {

constexpr std::size_t kPieceSize = std::size_t{1} << 20U;

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

}  // namespace

NewFile::NewFile(std::filesystem::path path) : path_(std::move(path)) {
  // Of two writers, or a writer and what a killed one has left, each has a name of its own.
  for (int attempt = 0; descriptor_ < 0; ++attempt) {
    temporary_ =
        folder_of(path_) / fmt::format(".{}-{}-{}", path_.filename().string(), ::getpid(), attempt);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && errno != EEXIST) {
      fail("cannot be created");
    }
  }
}

NewFile::~NewFile() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
    ::unlink(temporary_.c_str());
  }
}

void NewFile::write(std::span<const std::byte> bytes) {
  pending_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (pending_.size() >= kPieceSize) {
    flush();
  }
}

void NewFile::flush() {
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno != EINTR) {
      fail("cannot be written");
    }
    rest.remove_prefix(written < 0 ? 0 : static_cast<std::size_t>(written));
  }
  pending_.clear();
}

void NewFile::sync() {
  flush();
  if (::fsync(descriptor_) != 0) {
    fail("cannot be written");
  }
}

void NewFile::publish() {
  require(descriptor_ >= 0, "a file is published once");
  sync();
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    fail("cannot be created");
  }
  ::close(std::exchange(descriptor_, -1));
  // The rename itself must survive a power failure too; some file systems sync no folders.
  const int folder = ::open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    ::fsync(folder);
    ::close(folder);
  }
}

void NewFile::fail(const std::string& what) const {
  throw std::filesystem::filesystem_error(
      what, path_, std::error_code(errno, std::generic_category()));
}

void write_new_file(const std::filesystem::path& path, std::string_view text) {
  NewFile file(path);
  file.write(std::as_bytes(std::span(text)));
  file.publish();
}

}  // namespace runflat::exec
