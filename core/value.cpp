#include "core/value.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

namespace runflat {
namespace {

template <typename ObjectType>
auto find_member(ObjectType& object, std::string_view key) {
  return std::find_if(
      object.begin(), object.end(), [&](const auto& member) { return member.first == key; });
}

constexpr std::size_t kLongestQuote = 40;

/// The start of a long UTF-8 text, cut between two characters.
std::string_view whole_characters(std::string_view text) {
  std::size_t size = kLongestQuote;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0U) == 0x80U) {
    --size;
  }
  return text.substr(0, size);
}

Value& child(Value& parent, std::string_view key, std::string_view whole_path) {
  if (auto* items = parent.get_if<Value::Array>()) {
    std::size_t index = 0;
    const char* const end = key.data() + key.size();
    const auto parsed = std::from_chars(key.data(), end, index);
    require(parsed.ec == std::errc() && parsed.ptr == end && index < items->size(),
            fmt::format("{}: no item '{}' in the array", whole_path, key));
    return (*items)[index];
  }
  require(parent.is_null() || parent.get_if<Value::Object>() != nullptr,
          fmt::format("{}: '{}' is inside a plain value", whole_path, key));
  if (parent.find(key) == nullptr) {
    parent.set(key, Value());
  }
  return find_member(*parent.get_if<Value::Object>(), key)->second;
}

}  // namespace

const Value* Value::find(std::string_view key) const {
  const auto* object = get_if<Object>();
  if (object == nullptr) {
    return nullptr;
  }
  const auto member = find_member(*object, key);
  return member == object->end() ? nullptr : &member->second;
}

void Value::set(std::string_view key, Value value) {
  if (is_null()) {
    data_ = Object{};
  }
  auto* object = get_if<Object>();
  require(object != nullptr, "set() on a value that is not an object");
  const auto member = find_member(*object, key);
  if (member == object->end()) {
    object->emplace_back(std::string(key), std::move(value));
  } else {
    member->second = std::move(value);
  }
}

void Value::set_path(std::string_view dotted_path, Value value) {
  Value* place = this;
  for (std::size_t first = 0; first <= dotted_path.size();) {
    const std::size_t dot = std::min(dotted_path.find('.', first), dotted_path.size());
    require(dot > first, fmt::format("'{}' is not a key path", dotted_path));
    place = &child(*place, dotted_path.substr(first, dot - first), dotted_path);
    first = dot + 1;
  }
  *place = std::move(value);
}

std::string describe(const Value& value) {
  if (value.is_null()) {
    return "nothing";
  }
  if (const auto* flag = value.get_if<bool>()) {
    return *flag ? "true" : "false";
  }
  if (const auto* integer = value.get_if<std::int64_t>()) {
    return fmt::format("{}", *integer);
  }
  if (const auto* number = value.get_if<double>()) {
    return fmt::format("{:#}", *number);
  }
  if (const auto* text = value.get_if<std::string>()) {
    return text->size() > kLongestQuote ? fmt::format("'{}...'", whole_characters(*text))
                                        : fmt::format("'{}'", *text);
  }
  return value.get_if<Value::Array>() != nullptr ? "an array" : "a table";
}

}  // namespace runflat
