#include "exec/store/memory_store.hpp"

#include <functional>

namespace runflat::exec {

void MemoryStore::require_open() const {
  if (closed_) {
    throw StoreError(*closed_);
  }
}

void MemoryStore::close(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  closed_ = reason;
  changed_.notify_all();
}

void MemoryStore::set(std::string_view key, std::string_view value) {
  require_key(key);
  require_value(value);
  const std::lock_guard lock(mutex_);
  require_open();
  values_.insert_or_assign(std::string(key), std::string(value));
  changed_.notify_all();
}

std::optional<std::string> MemoryStore::get(std::string_view key) {
  require_key(key);
  const std::lock_guard lock(mutex_);
  require_open();
  const auto found = values_.find(key);
  return found == values_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::string> MemoryStore::wait(std::string_view key, Deadline deadline) {
  require_key(key);
  std::unique_lock lock(mutex_);
  const bool is_there =
      changed_.wait_until(lock, deadline, [&] { return closed_ || values_.contains(key); });
  require_open();
  return is_there ? std::optional(values_.find(key)->second) : std::nullopt;
}

std::int64_t MemoryStore::add(std::string_view key, std::int64_t amount) {
  require_key(key);
  const std::lock_guard lock(mutex_);
  require_open();
  std::string& value = values_[std::string(key)];
  const std::int64_t sum = (value.empty() ? 0 : std::stoll(value)) + amount;
  value = std::to_string(sum);
  changed_.notify_all();
  return sum;
}

bool MemoryStore::compare_set(std::string_view key,
                              std::optional<std::string_view> expected,
                              std::string_view value) {
  require_key(key);
  require_value(value);
  const std::lock_guard lock(mutex_);
  require_open();
  const auto found = values_.find(key);
  const bool is_as_expected = found == values_.end() ? !expected : expected == found->second;
  if (is_as_expected) {
    values_.insert_or_assign(std::string(key), std::string(value));
    changed_.notify_all();
  }
  return is_as_expected;
}

void MemoryStore::remove(std::string_view key) {
  require_key(key);
  const std::lock_guard lock(mutex_);
  require_open();
  values_.erase(std::string(key));
}

void MemoryStore::remove_prefix(std::string_view prefix) {
  const std::lock_guard lock(mutex_);
  require_open();
  std::erase_if(values_, [&](const auto& item) { return item.first.starts_with(prefix); });
}

std::vector<std::string> MemoryStore::list(std::string_view prefix) {
  const std::lock_guard lock(mutex_);
  require_open();
  std::vector<std::string> keys;
  for (const auto& [key, value] : values_) {
    if (key.starts_with(prefix)) {
      keys.push_back(key);
    }
  }
  return keys;
}

}  // namespace runflat::exec
