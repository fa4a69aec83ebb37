#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace runflat {

/// A tree of plain data as TOML and JSON hold it. Objects keep the order of their keys.
class Value {
 public:
  using Array = std::vector<Value>;
  using Object = std::vector<std::pair<std::string, Value>>;

  Value() = default;  // null
  Value(bool value) : data_(value) {}
  Value(int value) : data_(static_cast<std::int64_t>(value)) {}
  Value(std::int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(const char* value) : data_(std::string(value)) {}
  Value(std::string value) : data_(std::move(value)) {}
  Value(Array value) : data_(std::move(value)) {}
  Value(Object value) : data_(std::move(value)) {}

  /// An array of anything that a Value can be made of.
  template <typename Range>
  [[nodiscard]] static Value array_of(const Range& range) {
    Array items;
    items.reserve(range.size());
    for (const auto& item : range) {
      items.emplace_back(item);
    }
    return Value(std::move(items));
  }

  template <typename T>
  [[nodiscard]] const T* get_if() const {
    return std::get_if<T>(&data_);
  }
  template <typename T>
  [[nodiscard]] T* get_if() {
    return std::get_if<T>(&data_);
  }
  [[nodiscard]] bool is_null() const { return std::holds_alternative<std::monostate>(data_); }

  /// The member of this name, or nullptr; nullptr too when this is not an object.
  [[nodiscard]] const Value* find(std::string_view key) const;

  /// Adds or replaces a member; a null becomes an object first.
  void set(std::string_view key, Value value);

  /// Adds or replaces the member at a dotted path (`policies.ntp.spare_domains`), making objects on
  /// the way. Numbers index arrays. Throws InvalidArgument where the path runs through a scalar or
  /// past the end of an array.
  void set_path(std::string_view dotted_path, Value value);

  friend bool operator==(const Value&, const Value&) = default;

 private:
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> data_;
};

/// What a person would call this kind of value: `an integer`, `text`, `a table`.
[[nodiscard]] std::string describe(const Value& value);

}  // namespace runflat
