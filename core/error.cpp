#include "core/error.hpp"

#include <fmt/format.h>

namespace runflat {
namespace {

/// Text of a file may hold line breaks and worse; a message stays one line.
std::string on_one_line(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 0x20 || code == 0x7f) {
      out += fmt::format("\\x{:02x}", code);
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

ParseError::ParseError(std::string_view file, std::string_view where, std::string_view what)
    : std::runtime_error(on_one_line(where.empty()
                                         ? fmt::format("{}: {}", file, what)
                                         : fmt::format("{}: {}: {}", file, where, what))) {}

void require(bool condition, std::string_view message, const char* file, int line) {
  if (!condition) {
    throw InvalidArgument(fmt::format("{}:{}: {}", file, line, message));
  }
}

}  // namespace runflat
