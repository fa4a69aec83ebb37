#pragma once

#include "core/value.hpp"

#include <string_view>

namespace runflat {

/// Changes one value of a document as a person writes it on a command line: `key.path=value`. The
/// value is TOML (`12`, `0.5`, `true`, `[1, 2]`, `"text"`); what is not TOML is text as it stands.
/// The name of a TOML file in place of an assignment changes all values that the file holds, key by
/// key, as `runflat calibrate` writes them. Throws ParseError that quotes the assignment, when it
/// has no `=` or no such place can exist.
void apply_override(Value& document, std::string_view assignment);

}  // namespace runflat
