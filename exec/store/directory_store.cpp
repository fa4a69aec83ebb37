#include "exec/store/directory_store.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace runflat::exec {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMaxNameSize = 200;  // of a file; the file system's limit is 255
constexpr std::string_view kHexDigits = "0123456789abcdef";

/// A file descriptor that closes itself.
class File {
 public:
  File(const std::filesystem::path& path, int flags)
      : descriptor_(::open(path.c_str(), flags | O_CLOEXEC, S_IRUSR | S_IWUSR)) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (is_open()) {
      ::close(descriptor_);
    }
  }
  [[nodiscard]] bool is_open() const { return descriptor_ >= 0; }
  [[nodiscard]] int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
};

bool is_plain(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
         (letter >= '0' && letter <= '9') || letter == '-' || letter == '_';
}

/// A path for any bytes: other than plain letters are `%2f`; a directory that ends with `+` holds
/// the rest of names too long for a file.
std::string encoded(std::string_view key) {
  std::string path;
  std::size_t name_size = 0;
  for (const char letter : key) {
    if (name_size >= kMaxNameSize) {
      path += "+/";
      name_size = 0;
    }
    const std::size_t before = path.size();
    if (is_plain(letter)) {
      path += letter;
    } else {
      const auto byte = static_cast<unsigned char>(letter);
      path += {'%', kHexDigits[byte >> 4U], kHexDigits[byte & 15U]};
    }
    name_size += path.size() - before;
  }
  return path;
}

std::string decoded(std::string_view path) {
  std::string key;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '%') {
      const std::size_t high = kHexDigits.find(path[i + 1]);
      key += static_cast<char>(high * 16 + kHexDigits.find(path[i + 2]));
      i += 2;
    } else if (path[i] != '+' && path[i] != '/') {
      key += path[i];
    }
  }
  return key;
}

/// Sleeps a little longer every time: quick answers, little work in long waits.
class Pauses {
 public:
  void pause(Deadline deadline) {
    std::this_thread::sleep_until(std::min<Deadline>(deadline, Clock::now() + next_));
    next_ = std::min<std::chrono::microseconds>(next_ * 3 / 2, 20ms);
  }

 private:
  std::chrono::microseconds next_ = 200us;
};

}  // namespace

/// Held by one writer at a time; gone with the process that holds it.
class DirectoryStore::WriteLock {
 public:
  explicit WriteLock(const DirectoryStore& store)
      : file_(store.directory_ / ".lock", O_RDWR | O_CREAT) {
    if (!file_.is_open()) {
      store.fail("cannot open .lock", errno);
    }
    const Deadline deadline = deadline_in(store.timeout_);
    for (Pauses pauses; ::flock(file_.descriptor(), LOCK_EX | LOCK_NB) != 0;) {
      if ((errno != EWOULDBLOCK && errno != EINTR) || Clock::now() > deadline) {
        store.fail("cannot lock .lock", errno);
      }
      pauses.pause(deadline);
    }
  }

 private:
  File file_;
};

DirectoryStore::DirectoryStore(std::filesystem::path directory, std::chrono::milliseconds timeout)
    : directory_(std::move(directory)), timeout_(timeout) {
  std::error_code ignored;  // the next call says it
  std::filesystem::create_directories(directory_.parent_path(), ignored);
  if (::mkdir(directory_.c_str(), S_IRWXU) != 0 && errno != EEXIST) {
    fail("cannot make the directory", errno);
  }
  struct stat found {};
  if (::lstat(directory_.c_str(), &found) != 0) {
    fail("cannot look at the directory", errno);
  }
  if (!S_ISDIR(found.st_mode)) {
    fail("not a directory", 0);
  }
  if (found.st_uid != ::geteuid()) {
    fail("belongs to another user", 0);
  }
  if ((found.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    fail("others can write to it: chmod go-w, or choose another", 0);
  }
}

void DirectoryStore::set(std::string_view key, std::string_view value) {
  require_key(key);
  require_value(value);
  const WriteLock lock(*this);
  write(key, value);
}

std::optional<std::string> DirectoryStore::get(std::string_view key) {
  require_key(key);
  const File file(path_of(key), O_RDONLY);
  if (!file.is_open()) {
    if (errno != ENOENT) {
      fail("cannot read", errno);
    }
    return std::nullopt;
  }
  std::string value;
  std::array<char, 4096> block{};
  ssize_t num_read = 0;
  while ((num_read = ::read(file.descriptor(), block.data(), block.size())) != 0) {
    if (num_read > 0) {
      value.append(block.data(), static_cast<std::size_t>(num_read));
    } else if (errno != EINTR) {
      fail("cannot read", errno);
    }
  }
  return value;
}

std::optional<std::string> DirectoryStore::wait(std::string_view key, Deadline deadline) {
  for (Pauses pauses;; pauses.pause(deadline)) {
    const bool is_last = Clock::now() >= deadline;
    if (auto value = get(key); value || is_last) {
      return value;
    }
  }
}

std::int64_t DirectoryStore::add(std::string_view key, std::int64_t amount) {
  const WriteLock lock(*this);
  const std::string text = get(key).value_or("0");
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() ||
      __builtin_add_overflow(number, amount, &number)) {
    fail("not a counter: " + std::string(key), 0);
  }
  write(key, std::to_string(number));
  return number;
}

bool DirectoryStore::compare_set(std::string_view key,
                                 std::optional<std::string_view> expected,
                                 std::string_view value) {
  require_value(value);
  const WriteLock lock(*this);
  const bool is_expected = get(key) == expected;
  if (is_expected) {
    write(key, value);
  }
  return is_expected;
}

void DirectoryStore::remove(std::string_view key) {
  require_key(key);
  const WriteLock lock(*this);
  if (::unlink(path_of(key).c_str()) != 0 && errno != ENOENT) {
    fail("cannot remove", errno);
  }
}

void DirectoryStore::remove_prefix(std::string_view prefix) {
  for (const std::string& key : list(prefix)) {
    remove(key);
  }
}

std::vector<std::string> DirectoryStore::list(std::string_view prefix) {
  std::vector<std::string> keys;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator entry(directory_, error), end;
       !error && entry != end;
       entry.increment(error)) {
    const std::string path = entry->path().lexically_relative(directory_).string();
    if (path.front() != '.' && path.back() != '+') {
      std::string key = decoded(path);
      if (key.starts_with(prefix)) {
        keys.push_back(std::move(key));
      }
    }
  }
  if (error) {
    fail("cannot list", error.value());
  }
  std::sort(keys.begin(), keys.end());
  return keys;
}

std::filesystem::path DirectoryStore::path_of(std::string_view key) const {
  return directory_ / encoded(key);
}

void DirectoryStore::write(std::string_view key, std::string_view value) {
  const std::filesystem::path path = path_of(key);
  std::error_code ignored;  // the rename says it
  std::filesystem::create_directories(path.parent_path(), ignored);
  const std::filesystem::path temporary = directory_ / ".new";
  const File file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
  if (!file.is_open()) {
    fail("cannot write", errno);
  }
  while (!value.empty()) {
    const ssize_t num_written = ::write(file.descriptor(), value.data(), value.size());
    if (num_written < 0 && errno != EINTR) {
      fail("cannot write", errno);
    }
    value.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(num_written, 0)));
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    fail("cannot rename", errno);
  }
}

void DirectoryStore::fail(const std::string& what, int error) const {
  throw StoreError("dir:" + directory_.string() + ": " + what +
                   (error == 0 ? "" : std::string(": ") + std::strerror(error)));
}

}  // namespace runflat::exec
