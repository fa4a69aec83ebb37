#include "core/error.hpp"

#include <fmt/format.h>

namespace runflat {

ParseError::ParseError(std::string_view file, std::string_view where, std::string_view what)
    : std::runtime_error(where.empty() ? fmt::format("{}: {}", file, what)
                                       : fmt::format("{}: {}: {}", file, where, what)) {}

void require(bool condition, std::string_view message, const char* file, int line) {
  if (!condition) {
    throw InvalidArgument(fmt::format("{}:{}: {}", file, line, message));
  }
}

}  // namespace runflat
