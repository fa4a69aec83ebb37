#include "core/override.hpp"

#include "core/document.hpp"
#include "core/error.hpp"

#include <string>
#include <utility>

namespace runflat {
namespace {

Value parse_scalar_or_text(std::string_view text) {
  try {
    const Value document = parse_toml("value = " + std::string(text), "");
    const auto* members = document.get_if<Value::Object>();
    if (members->size() == 1) {
      return members->front().second;
    }
  } catch (const ParseError&) {
    // Not TOML: the shell has eaten the quotes, or there never were any.
  }
  return std::string(text);
}

bool is_table(const Value* value) {
  return value != nullptr && value->get_if<Value::Object>() != nullptr;
}

/// Tables change key by key, everything else as a whole.
void merge(Value& document, const Value& changes) {
  for (const auto& [key, value] : *changes.get_if<Value::Object>()) {
    const Value* old = document.find(key);
    if (is_table(old) && is_table(&value)) {
      Value table = *old;
      merge(table, value);
      document.set(key, std::move(table));
    } else {
      document.set(key, value);
    }
  }
}

}  // namespace

void apply_override(Value& document, std::string_view assignment) {
  const std::size_t equals = assignment.find('=');
  if (equals == std::string_view::npos && assignment.ends_with(".toml")) {
    merge(document, read_document(assignment));
    return;
  }
  if (equals == std::string_view::npos || equals == 0) {
    throw ParseError(
        "--set", assignment, "expected key=value, as in cluster.num_nodes=128, or a .toml file");
  }
  try {
    document.set_path(assignment.substr(0, equals),
                      parse_scalar_or_text(assignment.substr(equals + 1)));
  } catch (const InvalidArgument&) {
    throw ParseError("--set", assignment, "expected the path of a value, in tables and arrays");
  }
}

}  // namespace runflat
