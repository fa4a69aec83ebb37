#include "exec/store/redis_store.hpp"

#include "exec/store/redis_connection.hpp"
#include "exec/store/sigpipe.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace runflat::exec {
namespace {

using namespace std::chrono_literals;

// Both note their result under the request's name, KEYS[2], so that a request that is repeated
// because its answer was lost happens once.
constexpr const char* kAdd = R"(
local result = redis.call('GET', KEYS[2])
if not result then
  redis.call('INCRBY', KEYS[1], ARGV[1])
  result = redis.call('GET', KEYS[1])
  redis.call('SET', KEYS[2], result, 'EX', 600)
end
return result)";
constexpr const char* kCompareSet = R"(
local result = redis.call('GET', KEYS[2])
if not result then
  local found = redis.call('GET', KEYS[1])
  result = '0'
  if (ARGV[1] == 'absent' and not found) or (ARGV[1] == 'present' and found == ARGV[2]) then
    redis.call('SET', KEYS[1], ARGV[3])
    result = '1'
  end
  redis.call('SET', KEYS[2], result, 'EX', 600)
end
return result)";

std::string text_of(const redisReply& reply) {
  return {reply.str, reply.len};
}

/// A pattern of MATCH for keys that start with `prefix`.
std::string pattern_of(std::string_view prefix) {
  std::string pattern;
  for (const char letter : prefix) {
    pattern += std::string_view("*?[]^-\\").find(letter) == std::string_view::npos ? "" : "\\";
    pattern += letter;
  }
  return pattern + "*";
}

std::string random_name() {
  std::random_device device;
  std::string name;
  for (int word = 0; word < 4; ++word) {
    name += std::to_string(device()) + "-";
  }
  return name;
}

class RedisStore : public Store {
 public:
  RedisStore(const RedisAddress& address, std::chrono::milliseconds timeout)
      : address_(address), timeout_(timeout), requests_(random_name()) {
    (void)command({"PING"});
  }

  void set(std::string_view key, std::string_view value) override {
    require_value(value);
    (void)command({"SET", key_of(key), value});
  }

  [[nodiscard]] std::optional<std::string> get(std::string_view key) override {
    const RedisReply reply = command({"GET", key_of(key)});
    return reply->type == REDIS_REPLY_NIL ? std::nullopt : std::optional(text_of(*reply));
  }

  [[nodiscard]] std::optional<std::string> wait(std::string_view key, Deadline deadline) override {
    for (std::chrono::microseconds pause = 500us;;
         pause = std::min<std::chrono::microseconds>(pause * 3 / 2, 50ms)) {
      const bool is_last = Clock::now() >= deadline;
      if (auto value = get(key); value || is_last) {
        return value;
      }
      std::this_thread::sleep_until(std::min<Deadline>(deadline, Clock::now() + pause));
    }
  }

  std::int64_t add(std::string_view key, std::int64_t amount) override {
    const RedisReply reply =
        command({"EVAL", kAdd, "2", key_of(key), next_request(), std::to_string(amount)});
    std::int64_t number = 0;
    std::from_chars(reply->str, reply->str + reply->len, number);
    return number;
  }

  bool compare_set(std::string_view key,
                   std::optional<std::string_view> expected,
                   std::string_view value) override {
    require_value(value);
    const RedisReply reply = command({"EVAL",
                                      kCompareSet,
                                      "2",
                                      key_of(key),
                                      next_request(),
                                      expected ? "present" : "absent",
                                      expected.value_or(""),
                                      value});
    return text_of(*reply) == "1";
  }

  void remove(std::string_view key) override { (void)command({"DEL", key_of(key)}); }

  void remove_prefix(std::string_view prefix) override {
    for (const std::string& key : list(prefix)) {
      remove(key);
    }
  }

  [[nodiscard]] std::vector<std::string> list(std::string_view prefix) override {
    const std::string first = address_.prefix + "/key/";
    const std::string pattern = pattern_of(first + std::string(prefix));
    std::vector<std::string> keys;
    std::string cursor = "0";
    do {
      const RedisReply reply = command({"SCAN", cursor, "MATCH", pattern, "COUNT", "1000"});
      cursor = text_of(*reply->element[0]);
      const redisReply& found = *reply->element[1];
      for (std::size_t i = 0; i < found.elements; ++i) {
        keys.push_back(text_of(*found.element[i]).substr(first.size()));
      }
    } while (cursor != "0");
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());  // SCAN may repeat some
    return keys;
  }

 private:
  using Words = std::vector<std::string>;

  /// Sends until there is an answer or the timeout has passed.
  RedisReply command(std::initializer_list<std::string_view> list) {
    const Words words(list.begin(), list.end());
    const std::lock_guard lock(mutex_);
    const Deadline deadline = deadline_in(timeout_);
    while (true) {
      RedisReply reply = try_once(words, deadline);
      if (reply) {
        return reply;
      }
      if (Clock::now() + 20ms > deadline) {
        throw StoreError(name() + ": " + last_error_);
      }
      std::this_thread::sleep_for(20ms);
    }
  }

  /// Nothing when the server cannot be reached.
  RedisReply try_once(const Words& words, Deadline deadline) {
    if (!connection_ && !connect(deadline)) {
      return nullptr;
    }
    RedisReply reply = send(words, deadline);
    if (!reply) {
      return nullptr;
    }
    if (reply->type == REDIS_REPLY_ERROR) {
      const std::string error = text_of(*reply);
      if (error.starts_with("LOADING")) {
        last_error_ = error;
        return nullptr;
      }
      throw StoreError(name() + ": " + error);
    }
    return reply;
  }

  bool connect(Deadline deadline) {
    connection_.emplace(address_, deadline);
    if (connection_->has_failed()) {
      last_error_ = connection_->error();
      const bool is_final = connection_->is_untrusted();
      connection_.reset();
      if (is_final) {
        throw StoreError(name() + ": " + last_error_);
      }
      return false;
    }
    if (address_.password.empty()) {
      return true;
    }
    Words login = {"AUTH", address_.password};
    if (!address_.user.empty()) {
      login.insert(login.begin() + 1, address_.user);
    }
    const RedisReply reply = send(login, deadline);
    if (reply && reply->type == REDIS_REPLY_ERROR) {
      connection_.reset();
      throw StoreError(name() + ": " + text_of(*reply));
    }
    return reply != nullptr;
  }

  RedisReply send(const Words& words, Deadline deadline) {
    RedisReply reply = connection_->ask(words, deadline);
    if (!reply) {
      last_error_ = "no answer: " + connection_->error();
      connection_.reset();
    }
    return reply;
  }

  [[nodiscard]] std::string key_of(std::string_view key) const {
    require_key(key);
    return address_.prefix + "/key/" + std::string(key);
  }
  [[nodiscard]] std::string next_request() {
    const std::lock_guard lock(mutex_);
    return address_.prefix + "/request/" + requests_ + std::to_string(++num_requests_);
  }
  [[nodiscard]] std::string name() const {
    return (address_.has_tls ? "rediss://" : "redis://") + address_.host + ":" +
           std::to_string(address_.port);
  }

  const RedisAddress address_;
  const std::chrono::milliseconds timeout_;
  const std::string requests_;
  std::mutex mutex_;
  std::int64_t num_requests_ = 0;
  std::optional<RedisConnection> connection_;
  std::string last_error_;
};

}  // namespace

std::unique_ptr<Store> make_redis_store(const RedisAddress& address,
                                        std::chrono::milliseconds timeout) {
  ignore_sigpipe();
  return std::make_unique<RedisStore>(address, timeout);
}

}  // namespace runflat::exec
