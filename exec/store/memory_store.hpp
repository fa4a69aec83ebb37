#pragma once

#include "exec/store/store.hpp"

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace runflat::exec {

/// A store in memory, for processes that are threads.
class MemoryStore : public Store {
 public:
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

  /// From now on all operations throw StoreError, those that wait too.
  void close(const std::string& reason);

 private:
  void require_open() const;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::string, std::less<>> values_;
  std::optional<std::string> closed_;  // why
};

}  // namespace runflat::exec
