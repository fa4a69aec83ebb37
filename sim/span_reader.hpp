#pragma once

#include "core/reader.hpp"
#include "core/units.hpp"

#include <optional>
#include <string_view>

namespace runflat::sim {

/// Reads a span of time of at least zero whose key ends in its unit: for the stem `mtbf` exactly
/// one of `mtbf_seconds`, `mtbf_minutes`, `mtbf_hours`, `mtbf_days`. ParseError for two of them.
[[nodiscard]] std::optional<Seconds> find_span(ObjectReader& in, std::string_view stem);

/// As find_span, but ParseError where there is none.
[[nodiscard]] Seconds read_span(ObjectReader& in, std::string_view stem);

/// As read_span, but ParseError for zero.
[[nodiscard]] Seconds read_positive_span(ObjectReader& in, std::string_view stem);

}  // namespace runflat::sim
