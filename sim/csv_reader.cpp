#include "sim/csv_reader.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace runflat::sim {
namespace {

constexpr std::string_view kBlanks = " \t";

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
}

void skip_blanks(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
}

/// Skips the end of a line, if `text` begins with one or is at its own end.
bool skip_line_end(std::string_view& text) {
  if (text.starts_with("\r\n")) {
    text.remove_prefix(2);
    return true;
  }
  if (text.starts_with('\n')) {
    text.remove_prefix(1);
    return true;
  }
  return text.empty();
}

}  // namespace

CsvReader::CsvReader(std::string_view text, std::string_view file) : rest_(text), file_(file) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (rest_.starts_with(kByteOrderMark)) {
    rest_.remove_prefix(kByteOrderMark.size());
  }
}

void CsvReader::reject(std::string_view what) const {
  throw ParseError(file_, fmt::format("row {}", row_), what);
}

std::string_view CsvReader::take_plain_field() {
  std::size_t end = std::min(rest_.find_first_of(",\n"), rest_.size());
  if (end > 0 && end < rest_.size() && rest_[end] == '\n' && rest_[end - 1] == '\r') {
    --end;
  }
  const std::string_view field = rest_.substr(0, end);
  rest_.remove_prefix(end);
  return trimmed(field);
}

void CsvReader::take_quoted_field(std::string& field) {
  field.clear();
  while (true) {
    rest_.remove_prefix(1);  // the opening quote, or the second of a doubled one
    const std::size_t end = rest_.find('"');
    if (end == std::string_view::npos) {
      reject("expected a closing quote");
    }
    field.append(rest_.substr(0, end));
    rest_.remove_prefix(end + 1);
    if (!rest_.starts_with('"')) {
      break;
    }
    field.push_back('"');
  }
  skip_blanks(rest_);
}

bool CsvReader::next() {
  num_fields_ = 0;
  do {
    if (rest_.empty()) {
      return false;
    }
    ++row_;
  } while (skip_line_end(rest_));
  while (true) {
    if (num_fields_ == fields_.size()) {
      fields_.emplace_back();
    }
    std::string& field = fields_[num_fields_++];
    skip_blanks(rest_);
    if (rest_.starts_with('"')) {
      take_quoted_field(field);
    } else {
      field = take_plain_field();
    }
    if (skip_line_end(rest_)) {
      return true;
    }
    if (!rest_.starts_with(',')) {
      reject("expected a comma after the closing quote");
    }
    rest_.remove_prefix(1);
  }
}

}  // namespace runflat::sim
