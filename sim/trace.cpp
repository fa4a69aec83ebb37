#include "sim/trace.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "sim/csv_reader.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <fmt/format.h>
#include <limits>
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
constexpr std::array kDetections{
    Detection::crash, Detection::hang, Detection::planned, Detection::timeout};
constexpr std::array kResources{Resource::compute, Resource::network, Resource::nvlink};

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
  std::optional<std::size_t> silent_seconds;
  std::optional<std::size_t> speed;
  std::optional<std::size_t> resource;
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
                  .silent_seconds = find_column(csv, "silent_seconds"),
                  .speed = find_column(csv, "speed"),
                  .resource = find_column(csv, "resource"),
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

/// The field of an optional column, where it is not empty.
const std::string* filled(std::span<const std::string> fields, std::optional<std::size_t> column) {
  return column && !fields[*column].empty() ? &fields[*column] : nullptr;
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
  if (const std::string* word = filled(fields, columns.detection)) {
    fault.detection = read_word(csv, "detection", *word, kDetections);
  }
  if (const std::string* seconds = filled(fields, columns.silent_seconds)) {
    fault.silent_for = std::chrono::duration<std::int32_t>{
        read_component(csv, "silent_seconds", *seconds, std::numeric_limits<std::int32_t>::max())};
  }
  return fault;
}

/// The row as a slowdown, if it has a speed.
std::optional<Slowdown> read_slowdown(const CsvReader& csv,
                                      const Columns& columns,
                                      const Fault& fault) {
  const std::string* const text = filled(csv.fields(), columns.speed);
  if (text == nullptr) {
    return std::nullopt;
  }
  const std::optional<double> speed = parse_number<double>(*text);
  if (!speed || !(*speed > 0.0 && *speed <= 1.0)) {
    csv.reject(fmt::format("speed: expected a number above 0 and up to 1, found '{}'", *text));
  }
  Slowdown slowdown{.begin = fault.begin,
                    .end = fault.end,
                    .component = fault.component,
                    .class_index = fault.class_index,
                    .blast_radius = fault.blast_radius,
                    .speed = *speed};
  if (const std::string* word = filled(csv.fields(), columns.resource)) {
    slowdown.resource = read_word(csv, "resource", *word, kResources);
  }
  return slowdown;
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

/// What of `hits` a job sees that runs from `start` for `duration`, in its own time.
template <typename Hit>
std::vector<Hit> window(const std::vector<Hit>& hits, SimTime duration, SimTime start) {
  std::vector<Hit> seen;
  for (Hit hit : hits) {
    hit.begin -= start;
    hit.end -= hit.end == kNever ? SimTime::zero() : start;
    const bool before = hit.begin < SimTime::zero() && hit.end <= SimTime::zero();
    if (!before && hit.begin < duration) {
      seen.push_back(hit);
    }
  }
  return seen;
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
    if (const std::optional<Slowdown> slowdown = read_slowdown(csv, columns, fault)) {
      trace.slowdowns.push_back(*slowdown);
    } else {
      trace.faults.push_back(fault);
    }
  }
  std::sort(trace.faults.begin(), trace.faults.end());
  std::sort(trace.slowdowns.begin(), trace.slowdowns.end());
  return trace;
}

FaultTrace read_fault_trace(const std::filesystem::path& path, const ClusterShape& shape) {
  return parse_fault_trace(read_text_file(path), path.string(), shape);
}

std::string fault_trace_csv(const FaultTrace& trace) {
  const bool has_silence =
      std::any_of(trace.faults.begin(), trace.faults.end(), [](const Fault& fault) {
        return fault.silent_for.count() != 0;
      });
  const bool has_slowdowns = !trace.slowdowns.empty();
  std::string text = fmt::format("start_day,end_day,blast_radius,component,class,detection{}{}\n",
                                 has_silence ? ",silent_seconds" : "",
                                 has_slowdowns ? ",speed,resource" : "");
  const auto append_hit = [&](const auto& hit) {
    require(hit.begin >= SimTime::zero(), "a trace begins at day 0");
    text +=
        fmt::format("{},{},{},{},{},",
                    to_days(hit.begin).count(),
                    hit.end == kNever ? std::string() : fmt::format("{}", to_days(hit.end).count()),
                    to_string(hit.blast_radius),
                    hit.component,
                    csv_field(trace.class_names.at(static_cast<std::size_t>(hit.class_index))));
  };
  for (const Fault& fault : trace.faults) {
    append_hit(fault);
    text += to_string(fault.detection);
    text += has_silence ? fmt::format(",{}", fault.silent_for.count()) : "";
    text += has_slowdowns ? ",,\n" : "\n";
  }
  for (const Slowdown& slowdown : trace.slowdowns) {
    append_hit(slowdown);
    text += fmt::format(
        "{},{},{}\n", has_silence ? "," : "", slowdown.speed, to_string(slowdown.resource));
  }
  return text;
}

FaultTimeline replay(const FaultTrace& trace,
                     const ClusterShape& shape,
                     SimTime duration,
                     SimTime start) {
  return make_fault_timeline(shape,
                             duration,
                             window(trace.faults, duration, start),
                             window(trace.slowdowns, duration, start));
}

}  // namespace runflat::sim
