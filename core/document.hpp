#pragma once

#include "core/value.hpp"

#include <filesystem>
#include <string>
#include <string_view>

namespace runflat {

/// The one place that knows TOML and JSON. `file` is the name that errors carry.
/// All throw ParseError with the place (line and column, or key path) where the text is not well
/// formed, holds a key twice, is not UTF-8, nests deeper than 100 levels, or has an integer beyond
/// 64 bits. TOML's tables come with their keys in alphabetical order.
[[nodiscard]] Value parse_json(std::string_view text, std::string_view file);
[[nodiscard]] Value parse_toml(std::string_view text, std::string_view file);

/// Reads a whole file; the extension `.json` or `.toml` picks the syntax. ParseError when
/// unreadable.
[[nodiscard]] Value read_document(const std::filesystem::path& path);
[[nodiscard]] std::string read_text_file(const std::filesystem::path& path);

/// JSON with keys in the order of the Value, numbers in the shortest form that reads back equal,
/// and a newline at the end. `indent` < 0 puts everything on one line. NaN and infinity become
/// null.
[[nodiscard]] std::string to_json_text(const Value& value, int indent = 1);

}  // namespace runflat
