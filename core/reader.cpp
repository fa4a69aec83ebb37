#include "core/reader.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace runflat {
namespace {

std::string expected_range(
    std::string_view what, double least, double most, bool open_below, bool open_above) {
  if (open_below && open_above) {
    return std::string(what);
  }
  if (open_above) {
    return fmt::format("{} of at least {}", what, least);
  }
  if (open_below) {
    return fmt::format("{} of at most {}", what, most);
  }
  return fmt::format("{} from {} to {}", what, least, most);
}

std::string join_path(std::string_view path, std::string_view key) {
  return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
}

}  // namespace

void Reader::fail(std::string_view expected) const {
  reject(fmt::format("expected {}, found {}", expected, describe(*value_)));
}

void Reader::reject(std::string_view what) const {
  throw ParseError(file_, path_, what);
}

bool Reader::boolean() const {
  const auto* flag = value_->get_if<bool>();
  if (flag == nullptr) {
    fail("true or false");
  }
  return *flag;
}

std::int64_t Reader::integer(std::int64_t least, std::int64_t most) const {
  const auto* integer = value_->get_if<std::int64_t>();
  if (integer == nullptr || *integer < least || *integer > most) {
    using Limits = std::numeric_limits<std::int64_t>;
    fail(expected_range("an integer",
                        static_cast<double>(least),
                        static_cast<double>(most),
                        least == Limits::min(),
                        most == Limits::max()));
  }
  return *integer;
}

double Reader::number(double least, double most) const {
  const auto* integer = value_->get_if<std::int64_t>();
  const auto* real = value_->get_if<double>();
  const double number = integer != nullptr ? static_cast<double>(*integer)
                        : real != nullptr  ? *real
                                           : std::nan("");
  if (!(number >= least && number <= most)) {
    using Limits = std::numeric_limits<double>;
    fail(expected_range("a number", least, most, least == Limits::lowest(), most == Limits::max()));
  }
  return number;
}

double Reader::positive_number() const {
  const double value = number();
  if (value <= 0.0) {
    fail("a number above 0");
  }
  return value;
}

std::string Reader::text() const {
  const auto* text = value_->get_if<std::string>();
  if (text == nullptr) {
    fail("text");
  }
  return *text;
}

std::size_t Reader::choice(const std::vector<std::string_view>& choices) const {
  const auto* text = value_->get_if<std::string>();
  const auto found =
      text == nullptr ? choices.end() : std::find(choices.begin(), choices.end(), *text);
  if (found == choices.end()) {
    fail(fmt::format("one of {}", fmt::join(choices, ", ")));
  }
  return static_cast<std::size_t>(found - choices.begin());
}

std::vector<Reader> Reader::items() const {
  const auto* items = value_->get_if<Value::Array>();
  if (items == nullptr) {
    fail("an array");
  }
  std::vector<Reader> readers;
  readers.reserve(items->size());
  for (const Value& item : *items) {
    readers.emplace_back(item, file_, join_path(path_, fmt::format("{}", readers.size())));
  }
  return readers;
}

std::vector<std::int64_t> Reader::integers(std::int64_t least, std::int64_t most) const {
  std::vector<std::int64_t> numbers;
  for (const Reader& item : items()) {
    numbers.push_back(item.integer(least, most));
  }
  return numbers;
}

std::vector<std::string> Reader::keys() const {
  const auto* object = value_->get_if<Value::Object>();
  if (object == nullptr) {
    fail("a table");
  }
  std::vector<std::string> names;
  names.reserve(object->size());
  for (const auto& member : *object) {
    names.push_back(member.first);
  }
  return names;
}

ObjectReader Reader::object() const {
  return ObjectReader(*this);
}

ObjectReader::ObjectReader(const Reader& place) : place_(place) {
  if (place.value().get_if<Value::Object>() == nullptr) {
    place.fail("a table");
  }
}

std::optional<Reader> ObjectReader::find(std::string_view key) {
  asked_.emplace_back(key);
  const Value* member = place_.value().find(key);
  if (member == nullptr) {
    return std::nullopt;
  }
  return Reader(*member, place_.file(), join_path(place_.path(), key));
}

Reader ObjectReader::at(std::string_view key) {
  std::optional<Reader> member = find(key);
  if (!member) {
    throw ParseError(place_.file(), join_path(place_.path(), key), "is missing");
  }
  return *member;
}

void ObjectReader::finish() const {
  for (const std::string& key : place_.keys()) {
    if (std::find(asked_.begin(), asked_.end(), key) == asked_.end()) {
      throw ParseError(place_.file(),
                       join_path(place_.path(), key),
                       fmt::format("unknown key; known here: {}", fmt::join(asked_, ", ")));
    }
  }
}

}  // namespace runflat
