#pragma once

#include "exec/store/store.hpp"

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace runflat::exec {

/// A directory of this host with a file for every key, for the processes of one user. Made with
/// mode 0700 where there is none; one that others can write to or own is refused. Writers take
/// turns by a lock; a value appears whole, by renaming.
class DirectoryStore : public Store {
 public:
  DirectoryStore(std::filesystem::path directory, std::chrono::milliseconds timeout);

  void set(std::string_view key, std::string_view value) override;
  [[nodiscard]] std::optional<std::string> get(std::string_view key) override;
  [[nodiscard]] std::optional<std::string> wait(std::string_view key, Deadline deadline) override;
  std::int64_t add(std::string_view key, std::int64_t amount) override;
  bool compare_set(std::string_view key,
                   std::optional<std::string_view> expected,
                   std::string_view value) override;
  void remove(std::string_view key) override;
  void remove_prefix(std::string_view prefix) override;
  [[nodiscard]] std::vector<std::string> list(std::string_view prefix) override;

 private:
  class WriteLock;

  [[nodiscard]] std::filesystem::path path_of(std::string_view key) const;
  void write(std::string_view key, std::string_view value);  // with the lock held
  [[noreturn]] void fail(const std::string& what, int error) const;

  std::filesystem::path directory_;
  std::chrono::milliseconds timeout_;
};

}  // namespace runflat::exec
