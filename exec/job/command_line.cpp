#include "exec/job/command_line.hpp"

#include "core/error.hpp"

#include <cstddef>

namespace runflat::exec {

void read_command_line(
    std::span<char*> words,
    const std::function<void(const std::string& word)>& on_word,
    const std::function<bool(const std::string& option, const std::string& value)>& on_option) {
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string word = words[i];
    if (!word.starts_with("--")) {
      on_word(word);
      continue;
    }
    if (++i == words.size()) {
      throw ParseError(word, "", "needs a value");
    }
    if (!on_option(word, words[i])) {
      throw ParseError(word, "", "no such option");
    }
  }
}

}  // namespace runflat::exec
