#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace runflat::sim {

/// The rows of comma-separated values as RFC 4180 and spreadsheets write them: fields may be
/// quoted, a quote inside is doubled, a quoted field may hold commas and line ends. Lines end in LF
/// or CRLF, a byte order mark is skipped, blank rows are skipped (but counted), and blanks around
/// an unquoted field do not belong to it. Row 1 is the first row of the file, usually the header.
class CsvReader {
 public:
  /// `text` must outlive the reader; `file` is the name that errors carry.
  CsvReader(std::string_view text, std::string_view file);

  /// Goes to the next row; false at the end. Throws ParseError where a quote is never closed or
  /// something other than a comma follows a closing quote.
  [[nodiscard]] bool next();

  /// The fields of the present row, valid until the next.
  [[nodiscard]] std::span<const std::string> fields() const {
    return std::span(fields_).first(num_fields_);
  }
  /// Throws ParseError naming the file and the present row.
  [[noreturn]] void reject(std::string_view what) const;

 private:
  [[nodiscard]] std::string_view take_plain_field();
  void take_quoted_field(std::string& field);

  std::string_view rest_;
  std::string file_;
  std::int64_t row_ = 0;
  std::vector<std::string> fields_;  // their memory is used again by the next row
  std::size_t num_fields_ = 0;
};

}  // namespace runflat::sim
