// toml++ 3.3 asserts on malformed text such as `a = [}` before it reports the error properly.
#define TOML_ASSERT(condition) static_assert(true)

#include "core/document.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <toml++/toml.h>

namespace runflat {
namespace {

static_assert(TOML_EXCEPTIONS, "parse_toml relies on toml++ throwing toml::parse_error");

constexpr std::size_t kDeepest = 100;

std::string deeper_than_allowed() {
  return fmt::format("nested deeper than {} levels", kDeepest);
}

/// The place of the `position`-th byte, counted from 1.
std::string line_and_column(std::string_view text, std::size_t position) {
  const std::string_view before = text.substr(0, std::max<std::size_t>(position, 1) - 1);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
  return fmt::format("line {}, column {}", line, before.size() - line_start + 1);
}

/// Builds a Value from nlohmann's events, so that a duplicate key, a number beyond 64 bits and too
/// deep a nesting are errors and not silently accepted.
class JsonBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  JsonBuilder(std::string_view text, std::string_view file) : text_(text), file_(file) {}

  bool null() override { return add(Value()); }
  bool boolean(bool value) override { return add(Value(value)); }
  bool number_integer(number_integer_t value) override { return add(Value(value)); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      fail("expected an integer within 64 bits");
    }
    return add(Value(static_cast<std::int64_t>(value)));
  }
  bool number_float(number_float_t value, const string_t& digits) override {
    if (digits.find_first_of(".eE") == string_t::npos) {  // an integer that did not fit
      fail("expected an integer within 64 bits");
    }
    return add(Value(value));
  }
  bool string(string_t& value) override { return add(Value(value)); }
  bool binary(binary_t& /*value*/) override { fail("expected text, found binary data"); }
  bool start_object(std::size_t /*size*/) override { return open(Value(Value::Object{})); }
  bool start_array(std::size_t /*size*/) override { return open(Value(Value::Array{})); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    stack_.back().key = name;
    if (stack_.back().value.find(name) != nullptr) {
      fail("appears twice");
    }
    return true;
  }
  bool parse_error(std::size_t position,
                   const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    throw ParseError(file_, line_and_column(text_, position), "expected well-formed JSON");
  }

  Value take() { return std::move(result_); }

 private:
  struct Frame {
    Value value;
    std::string key;
  };

  /// Throws with the key path of the value that is being read.
  [[noreturn]] void fail(std::string_view what) const {
    std::string path;
    for (const Frame& frame : stack_) {
      const auto* items = frame.value.get_if<Value::Array>();
      path += path.empty() ? "" : ".";
      path += items != nullptr ? fmt::format("{}", items->size()) : frame.key;
    }
    throw ParseError(file_, path, what);
  }

  bool add(Value value) {
    if (stack_.empty()) {
      result_ = std::move(value);
    } else if (auto* items = stack_.back().value.get_if<Value::Array>()) {
      items->push_back(std::move(value));
    } else {
      stack_.back().value.get_if<Value::Object>()->emplace_back(stack_.back().key,
                                                                std::move(value));
    }
    return true;
  }
  bool open(Value value) {
    if (stack_.size() >= kDeepest) {
      fail(deeper_than_allowed());
    }
    stack_.push_back({std::move(value), {}});
    return true;
  }
  bool close() {
    Value done = std::move(stack_.back().value);
    stack_.pop_back();
    return add(std::move(done));
  }

  std::string_view text_;
  std::string_view file_;
  std::vector<Frame> stack_;
  Value result_;
};

/// The last character of the TOML string that starts at `first`.
std::size_t end_of_toml_string(std::string_view text, std::size_t first) {
  const char quote = text[first];
  const std::string_view triple = quote == '"' ? "\"\"\"" : "'''";
  const bool is_long = text.substr(first, 3) == triple;
  for (std::size_t i = first + (is_long ? 3 : 1); i < text.size(); ++i) {
    if (text[i] == '\\' && quote == '"') {
      ++i;
    } else if (is_long ? text.substr(i, 3) == triple : text[i] == quote || text[i] == '\n') {
      return is_long ? i + 2 : i;
    }
  }
  return text.size();
}

/// Refuses dotted keys and brackets so deep that the recursion of toml++ over its tables could use
/// up the stack. Counts dots outside of strings and comments, those of floats too, so that it is
/// only a coarse guard in front of the exact check in from_toml.
void check_toml_depth(std::string_view text, std::string_view file) {
  constexpr std::size_t kTooDeep = 2 * kDeepest;
  std::vector<std::size_t> outer;  // the levels around every open bracket
  std::size_t levels = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"' || c == '\'') {
      i = end_of_toml_string(text, i);
    } else if (c == '#') {
      i = std::min(text.find('\n', i), text.size()) - 1;
    } else if (c == '.') {
      ++levels;
    } else if (c == '[' || c == '{') {
      outer.push_back(levels);
      ++levels;
    } else if ((c == ']' || c == '}') && !outer.empty()) {
      levels = outer.back();
      outer.pop_back();
    } else if (c == ',' || c == '\n') {
      levels = outer.empty() ? 0 : outer.back() + 1;
    }
    if (levels > kTooDeep) {
      throw ParseError(file, line_and_column(text, i + 1), deeper_than_allowed());
    }
  }
}

Value from_toml(const toml::node& node, std::string_view file, std::size_t depth) {
  if (depth > kDeepest && (node.is_table() || node.is_array())) {
    throw ParseError(file, fmt::format("line {}", node.source().begin.line), deeper_than_allowed());
  }
  if (const auto* table = node.as_table()) {
    Value::Object object;
    for (const auto& [key, item] : *table) {
      object.emplace_back(std::string(key.str()), from_toml(item, file, depth + 1));
    }
    return object;
  }
  if (const auto* array = node.as_array()) {
    Value::Array items;
    for (const auto& item : *array) {
      items.push_back(from_toml(item, file, depth + 1));
    }
    return items;
  }
  if (const auto* text = node.as_string()) {
    return text->get();
  }
  if (const auto* integer = node.as_integer()) {
    return integer->get();
  }
  if (const auto* number = node.as_floating_point()) {
    return number->get();
  }
  if (const auto* flag = node.as_boolean()) {
    return flag->get();
  }
  throw ParseError(file,
                   fmt::format("line {}", node.source().begin.line),
                   "expected a number, text, true, false, an array or a table, found a date");
}

nlohmann::ordered_json to_nlohmann(const Value& value) {
  if (const auto* object = value.get_if<Value::Object>()) {
    auto out = nlohmann::ordered_json::object();
    for (const auto& [key, member] : *object) {
      out[key] = to_nlohmann(member);
    }
    return out;
  }
  if (const auto* items = value.get_if<Value::Array>()) {
    auto out = nlohmann::ordered_json::array();
    for (const auto& item : *items) {
      out.push_back(to_nlohmann(item));
    }
    return out;
  }
  if (const auto* text = value.get_if<std::string>()) {
    return *text;
  }
  if (const auto* integer = value.get_if<std::int64_t>()) {
    return *integer;
  }
  if (const auto* number = value.get_if<double>()) {
    return *number;
  }
  if (const auto* flag = value.get_if<bool>()) {
    return *flag;
  }
  return nullptr;
}

}  // namespace

Value parse_json(std::string_view text, std::string_view file) {
  JsonBuilder builder(text, file);
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

Value parse_toml(std::string_view text, std::string_view file) {
  check_toml_depth(text, file);
  try {
    return from_toml(toml::parse(text), file, 1);
  } catch (const toml::parse_error& error) {
    const auto place = error.source().begin;
    throw ParseError(
        file, fmt::format("line {}, column {}", place.line, place.column), error.description());
  }
}

std::string read_text_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (!in || std::filesystem::is_directory(path) || !(text << in.rdbuf()) || in.bad()) {
    if (in && !std::filesystem::is_directory(path) &&
        in.peek() == std::ifstream::traits_type::eof()) {
      return {};
    }
    throw ParseError(path.string(), "", "cannot be read");
  }
  return text.str();
}

Value read_document(const std::filesystem::path& path) {
  const std::string text = read_text_file(path);
  if (path.extension() == ".json") {
    return parse_json(text, path.string());
  }
  if (path.extension() == ".toml") {
    return parse_toml(text, path.string());
  }
  throw ParseError(path.string(), "", "expected a file name that ends in .toml or .json");
}

std::string to_json_text(const Value& value, int indent) {
  return to_nlohmann(value).dump(indent, ' ', false, nlohmann::json::error_handler_t::replace) +
         "\n";
}

}  // namespace runflat
