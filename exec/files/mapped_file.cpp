#include "exec/files/mapped_file.hpp"

#include "core/error.hpp"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace runflat::exec {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, int error) {
  throw ParseError(
      path.string(), "", fmt::format("cannot be read: {}", std::generic_category().message(error)));
}

std::span<const std::byte> map(int descriptor, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) {
    fail(path, errno);
  }
  if (!S_ISREG(status.st_mode)) {
    throw ParseError(path.string(), "", "expected a regular file");
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) {  // mmap refuses an empty range
    return {};
  }
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (address == MAP_FAILED) {
    fail(path, errno);
  }
  return {static_cast<const std::byte*>(address), size};
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  // Non-blocking, so that a pipe by that name is refused and not waited for.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    fail(path, errno);
  }
  try {
    bytes_ = map(descriptor, path);
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  ::close(descriptor);
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) {
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
}

}  // namespace runflat::exec
