#pragma once

#include <functional>
#include <span>
#include <string>

namespace runflat::exec {

/// Reads the words of a command line after its first: each `--option value` goes to `on_option`,
/// which says whether there is such an option, and what does not begin with `--` to `on_word`.
/// ParseError for an option without a value, and for one that there is not.
void read_command_line(
    std::span<char*> words,
    const std::function<void(const std::string& word)>& on_word,
    const std::function<bool(const std::string& option, const std::string& value)>& on_option);

}  // namespace runflat::exec
