#pragma once

#include "core/value.hpp"

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace runflat {

class ObjectReader;

/// A value together with its place (`small.toml`, `cluster.num_nodes`), read with checks. Every
/// reading function throws ParseError that names the place, what was expected and what was found.
/// The Value read from must outlive the reader.
class Reader {
 public:
  Reader(const Value& value, std::string_view file, std::string_view path = "")
      : value_(&value), file_(file), path_(path) {}

  [[nodiscard]] bool boolean() const;
  [[nodiscard]] std::int64_t integer(
      std::int64_t least = std::numeric_limits<std::int64_t>::min(),
      std::int64_t most = std::numeric_limits<std::int64_t>::max()) const;
  /// Integers are accepted as numbers; NaN and infinity are not.
  [[nodiscard]] double number(double least = std::numeric_limits<double>::lowest(),
                              double most = std::numeric_limits<double>::max()) const;
  [[nodiscard]] double positive_number() const;
  [[nodiscard]] std::string text() const;
  /// Text that is one of `choices`; returns its index.
  [[nodiscard]] std::size_t choice(const std::vector<std::string_view>& choices) const;
  [[nodiscard]] std::vector<Reader> items() const;
  [[nodiscard]] std::vector<std::int64_t> integers(std::int64_t least, std::int64_t most) const;
  /// The keys of an object, in order.
  [[nodiscard]] std::vector<std::string> keys() const;
  [[nodiscard]] ObjectReader object() const;

  [[nodiscard]] const Value& value() const { return *value_; }
  [[nodiscard]] const std::string& file() const { return file_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  /// Throws ParseError: `expected <expected>, found <the value>`.
  [[noreturn]] void fail(std::string_view expected) const;
  /// Throws ParseError with a text of the caller's own.
  [[noreturn]] void reject(std::string_view what) const;

 private:
  const Value* value_;
  std::string file_;
  std::string path_;
};

/// Reads the members of one object and, with `finish()`, refuses those that nobody asked for.
class ObjectReader {
 public:
  explicit ObjectReader(const Reader& place);

  /// The member of this name; ParseError when it is missing.
  [[nodiscard]] Reader at(std::string_view key);
  [[nodiscard]] std::optional<Reader> find(std::string_view key);
  [[nodiscard]] const Reader& place() const { return place_; }

  /// ParseError for the first member that was never asked for, with the names that exist.
  void finish() const;

 private:
  Reader place_;
  std::vector<std::string> asked_;
};

/// Reads `key` with `read(Reader)` where it is present, else gives `fallback`.
template <typename T, typename Read>
[[nodiscard]] T read_or(ObjectReader& in, std::string_view key, T fallback, Read read) {
  const std::optional<Reader> member = in.find(key);
  return member ? static_cast<T>(std::invoke(read, *member)) : fallback;
}

}  // namespace runflat
