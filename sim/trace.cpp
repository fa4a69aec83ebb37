#include "sim/trace.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "sim/csv_reader.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <fmt/format.h>
#include <optional>
#include <span>
#include <system_error>
#include <unordered_map>
#include <utility>

namespace runflat::sim {
namespace {

constexpr double kMostDays = 1e6;
constexpr std::array kRadii{
    BlastRadius::gpu, BlastRadius::node, BlastRadius::domain, BlastRadius::job};
constexpr std::array kDetections{Detection::crash, Detection::hang};

/// Which field of a row holds what.
struct Columns {
  std::size_t start_day = 0;
  std::size_t end_day = 0;
  std::optional<std::size_t> node;
  std::optional<std::size_t> blast_radius;
  std::optional<std::size_t> component;
  std::optional<std::size_t> failure_class;
  std::optional<std::size_t> level;
  std::optional<std::size_t> detection;
  std::size_t num_fields = 0;
};

std::optional<std::size_t> find_column(const CsvReader& csv, std::string_view name) {
  const std::span<const std::string> names = csv.fields();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    return std::nullopt;
  }
  if (std::find(found + 1, names.end(), name) != names.end()) {
    csv.reject(fmt::format("expected one column {}, found two", name));
  }
  return static_cast<std::size_t>(found - names.begin());
}

std::size_t require_column(const CsvReader& csv, std::string_view name) {
  const std::optional<std::size_t> column = find_column(csv, name);
  if (!column) {
    csv.reject(fmt::format("expected a column {}", name));
  }
  return *column;
}

Columns read_header(CsvReader& csv) {
  if (!csv.next()) {
    csv.reject("expected a header with the columns start_day, end_day and node");
  }
  Columns columns{.start_day = require_column(csv, "start_day"),
                  .end_day = require_column(csv, "end_day"),
                  .node = find_column(csv, "node"),
                  .blast_radius = find_column(csv, "blast_radius"),
                  .component = find_column(csv, "component"),
                  .failure_class = find_column(csv, "class"),
                  .level = find_column(csv, "level"),
                  .detection = find_column(csv, "detection"),
                  .num_fields = csv.fields().size()};
  const bool has_component = columns.blast_radius && columns.component;
  if (columns.node.has_value() == has_component ||
      columns.blast_radius.has_value() != columns.component.has_value()) {
    csv.reject("expected either a column node, or the columns blast_radius and component");
  }
  return columns;
}

/// The number that `text` is from end to end, if it is one.
template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number number{};
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  return error == std::errc{} && rest == end ? std::optional(number) : std::nullopt;
}

/// The word of `choices` that a field holds.
template <typename Choice, std::size_t N>
Choice read_word(const CsvReader& csv,
                 std::string_view column,
                 std::string_view word,
                 const std::array<Choice, N>& choices) {
  std::string names;
  for (const Choice choice : choices) {
    if (to_string(choice) == word) {
      return choice;
    }
    names += fmt::format("{}{}", names.empty() ? "" : ", ", to_string(choice));
  }
  csv.reject(fmt::format("{}: expected one of {}, found '{}'", column, names, word));
}

SimTime read_day(const CsvReader& csv, std::string_view column, std::string_view text) {
  const std::optional<double> days = parse_number<double>(text);
  if (!days || !(*days >= 0.0 && *days <= kMostDays)) {
    csv.reject(
        fmt::format("{}: expected a number of days from 0 to 1e6, found '{}'", column, text));
  }
  return to_sim_time(Days{*days});
}

std::int32_t read_component(const CsvReader& csv,
                            std::string_view column,
                            std::string_view text,
                            std::int32_t num_components) {
  const std::optional<std::int32_t> component = parse_number<std::int32_t>(text);
  if (!component || *component < 0 || *component >= num_components) {
    csv.reject(fmt::format(
        "{}: expected an integer from 0 to {}, found '{}'", column, num_components - 1, text));
  }
  return *component;
}

Fault read_fault(const CsvReader& csv, const Columns& columns, const ClusterShape& shape) {
  const std::span<const std::string> fields = csv.fields();
  if (fields.size() != columns.num_fields) {
    csv.reject(fmt::format("expected {} fields, found {}", columns.num_fields, fields.size()));
  }
  Fault fault;
  fault.begin = read_day(csv, "start_day", fields[columns.start_day]);
  const std::string& end = fields[columns.end_day];
  fault.end = end.empty() ? kNever : read_day(csv, "end_day", end);
  if (fault.end < fault.begin) {
    csv.reject(fmt::format("expected an end_day no earlier than start_day, found {} before {}",
                           end,
                           fields[columns.start_day]));
  }
  fault.blast_radius = columns.node
                           ? BlastRadius::node
                           : read_word(csv, "blast_radius", fields[*columns.blast_radius], kRadii);
  fault.component = read_component(csv,
                                   columns.node ? "node" : "component",
                                   fields[columns.node ? *columns.node : *columns.component],
                                   shape.num_components(fault.blast_radius));
  if (columns.detection && !fields[*columns.detection].empty()) {
    fault.detection = read_word(csv, "detection", fields[*columns.detection], kDetections);
  }
  return fault;
}

std::string class_name(std::span<const std::string> fields, const Columns& columns) {
  if (columns.level && columns.failure_class) {
    return fmt::format("{}/{}", fields[*columns.level], fields[*columns.failure_class]);
  }
  if (columns.failure_class) {
    return fields[*columns.failure_class];
  }
  return columns.level ? fields[*columns.level] : std::string();
}

/// Quoted where it must be.
std::string csv_field(std::string_view text) {
  const bool plain = text.find_first_of(",\"\r\n") == std::string_view::npos &&
                     (text.empty() || (text.front() > ' ' && text.back() > ' '));
  if (plain) {
    return std::string(text);
  }
  std::string quoted = "\"";
  for (const char c : text) {
    quoted += c;
    if (c == '"') {
      quoted += c;
    }
  }
  return quoted + "\"";
}

}  // namespace

FaultTrace parse_fault_trace(std::string_view text,
                             std::string_view file,
                             const ClusterShape& shape) {
  require_valid(shape);
  CsvReader csv{text, file};
  const Columns columns = read_header(csv);
  FaultTrace trace;
  std::unordered_map<std::string, std::int32_t> class_indices;
  while (csv.next()) {
    Fault fault = read_fault(csv, columns, shape);
    const auto next_index = static_cast<std::int32_t>(trace.class_names.size());
    const auto [found, is_new] =
        class_indices.try_emplace(class_name(csv.fields(), columns), next_index);
    if (is_new) {
      trace.class_names.push_back(found->first);
    }
    fault.class_index = found->second;
    trace.faults.push_back(fault);
  }
  std::sort(trace.faults.begin(), trace.faults.end());
  return trace;
}

FaultTrace read_fault_trace(const std::filesystem::path& path, const ClusterShape& shape) {
  return parse_fault_trace(read_text_file(path), path.string(), shape);
}

std::string fault_trace_csv(const FaultTrace& trace) {
  std::string text = "start_day,end_day,blast_radius,component,class,detection\n";
  for (const Fault& fault : trace.faults) {
    require(fault.begin >= SimTime::zero(), "a trace begins at day 0");
    text += fmt::format(
        "{},{},{},{},{},{}\n",
        to_days(fault.begin).count(),
        fault.end == kNever ? std::string() : fmt::format("{}", to_days(fault.end).count()),
        to_string(fault.blast_radius),
        fault.component,
        csv_field(trace.class_names.at(static_cast<std::size_t>(fault.class_index))),
        to_string(fault.detection));
  }
  return text;
}

FaultTimeline replay(const FaultTrace& trace,
                     const ClusterShape& shape,
                     SimTime duration,
                     SimTime start) {
  std::vector<Fault> faults;
  for (Fault fault : trace.faults) {
    fault.begin -= start;
    fault.end -= fault.end == kNever ? SimTime::zero() : start;
    const bool before = fault.begin < SimTime::zero() && fault.end <= SimTime::zero();
    if (!before && fault.begin < duration) {
      faults.push_back(fault);
    }
  }
  return make_fault_timeline(shape, duration, std::move(faults));
}

}  // namespace runflat::sim
