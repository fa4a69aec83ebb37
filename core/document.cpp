#include "core/document.hpp"

#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#define TOML_EXCEPTIONS 1
#include "core/error.hpp"

#include <toml++/toml.h>

namespace runflat {
namespace {

constexpr int kDeepest = 100;

/// Builds a Value from nlohmann's events, so that a duplicate key, a number beyond 64 bits and too
/// deep a nesting are errors and not silently accepted.
class JsonBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit JsonBuilder(std::string_view file) : file_(file) {}

  bool null() override { return add(Value()); }
  bool boolean(bool value) override { return add(Value(value)); }
  bool number_integer(number_integer_t value) override { return add(Value(value)); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      fail("expected integers within 64 bits");
    }
    return add(Value(static_cast<std::int64_t>(value)));
  }
  bool number_float(number_float_t value, const string_t& /*text*/) override {
    return add(Value(value));
  }
  bool string(string_t& value) override { return add(Value(value)); }
  bool binary(binary_t& /*value*/) override { fail("expected text, found binary data"); }
  bool start_object(std::size_t /*size*/) override { return open(Value(Value::Object{})); }
  bool start_array(std::size_t /*size*/) override { return open(Value(Value::Array{})); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (stack_.back().value.find(name) != nullptr) {
      fail(fmt::format("key '{}' appears twice", name));
    }
    stack_.back().key = name;
    return true;
  }
  bool parse_error(std::size_t position,
                   const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    throw ParseError(file_, fmt::format("byte {}", position), "expected well-formed JSON");
  }

  Value take() { return std::move(result_); }

 private:
  struct Frame {
    Value value;
    std::string key;
  };

  [[noreturn]] void fail(std::string_view what) const { throw ParseError(file_, "", what); }

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
      fail(fmt::format("nested deeper than {} levels", kDeepest));
    }
    stack_.push_back({std::move(value), {}});
    return true;
  }
  bool close() {
    Value done = std::move(stack_.back().value);
    stack_.pop_back();
    return add(std::move(done));
  }

  std::string file_;
  std::vector<Frame> stack_;
  Value result_;
};

Value from_toml(const toml::node& node, std::string_view file) {
  if (const auto* table = node.as_table()) {
    Value::Object object;
    for (const auto& [key, item] : *table) {
      object.emplace_back(std::string(key.str()), from_toml(item, file));
    }
    return object;
  }
  if (const auto* array = node.as_array()) {
    Value::Array items;
    for (const auto& item : *array) {
      items.push_back(from_toml(item, file));
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
  JsonBuilder builder(file);
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

Value parse_toml(std::string_view text, std::string_view file) {
  try {
    return from_toml(toml::parse(text), file);
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
