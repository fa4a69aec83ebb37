#include "exec/store/store.hpp"

#include "core/error.hpp"
#include "exec/store/directory_store.hpp"
#include "exec/store/redis_store.hpp"

#include <charconv>
#include <utility>

namespace runflat::exec {
namespace {

bool take_prefix(std::string_view& text, std::string_view prefix) {
  const bool has = text.starts_with(prefix);
  text.remove_prefix(has ? prefix.size() : 0);
  return has;
}

/// Cuts `text` at the separator: what stands before it, and `text` is what follows.
std::string_view take_until(std::string_view& text, char separator) {
  const std::size_t at = std::min(text.find(separator), text.size());
  const std::string_view head = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return head;
}

template <typename Number>
std::optional<Number> parsed(std::string_view text, int base = 10) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  return error == std::errc{} && end == text.data() + text.size() ? std::optional(number)
                                                                  : std::nullopt;
}

/// `%40` is an at sign.
std::string percent_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte =
        text[i] == '%' ? parsed<std::uint8_t>(text.substr(i + 1, 2), 16) : std::nullopt;
    decoded += byte ? static_cast<char>(*byte) : text[i];
    i += byte ? 2U : 0U;
  }
  return decoded;
}

RedisAddress redis_address(bool has_tls, std::string_view rest) {
  RedisAddress address;
  address.has_tls = has_tls;
  if (const std::size_t at = rest.rfind('@'); at != rest.npos) {
    std::string_view login = rest.substr(0, at);
    address.user = percent_decoded(take_until(login, ':'));
    address.password = percent_decoded(login);
    rest.remove_prefix(at + 1);
  }
  if (take_prefix(rest, "[")) {  // an IPv6 address
    address.host = take_until(rest, ']');
  } else {
    address.host = rest.substr(0, rest.find_first_of(":/"));
    rest.remove_prefix(address.host.size());
  }
  if (take_prefix(rest, ":")) {
    const std::string_view digits = rest.substr(0, rest.find('/'));
    rest.remove_prefix(digits.size());
    const auto port = parsed<std::uint16_t>(digits);
    if (!port || *port == 0) {
      throw StoreError("redis://" + address.host + ": not a port: " + std::string(digits));
    }
    address.port = *port;
  }
  if (take_prefix(rest, "/") && !rest.empty()) {
    address.prefix = rest;
  }
  if (address.host.empty()) {
    throw StoreError("redis://: expected redis://:password@host:port/prefix");
  }
  return address;
}

}  // namespace

std::unique_ptr<Store> make_store(const std::string& url, std::chrono::milliseconds timeout) {
  std::string_view rest = url;
  if (take_prefix(rest, "dir:")) {
    return std::make_unique<DirectoryStore>(std::string(rest), timeout);
  }
  for (const bool has_tls : {false, true}) {
    if (take_prefix(rest, has_tls ? "rediss://" : "redis://")) {
      return make_redis_store(redis_address(has_tls, rest), timeout);
    }
  }
  throw StoreError(
      "a store is dir:/path, redis://:password@host:port/prefix, or rediss:// for TLS");
}

void require_key(std::string_view key) {
  require(!key.empty() && std::ssize(key) <= Store::kMaxKeySize,
          "store: a key is 1 to 1,000 bytes");
}

void require_value(std::string_view value) {
  require(std::ssize(value) <= Store::kMaxValueSize, "store: a value is at most 16 MiB");
}

}  // namespace runflat::exec
