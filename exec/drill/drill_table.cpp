#include "exec/drill/drill_table.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <iterator>
#include <vector>

namespace runflat::exec {
namespace {

using Line = std::array<std::string, 6>;

std::string milliseconds(const std::optional<double>& seconds) {
  return seconds ? fmt::format("{:.0f} ms", 1000.0 * *seconds) : "-";
}

Line line_of(const DrillRow& row) {
  return {std::to_string(row.run),
          to_text(row.fault.fault),
          milliseconds(row.fault.detected),
          milliseconds(row.fault.recovered),
          std::to_string(row.steps_lost),
          row.how};
}

}  // namespace

std::string drill_table(const DrillReport& report) {
  std::vector<Line> lines = {
      {"run", "fault", "detected after", "recovered after", "steps lost", "how"}};
  std::vector<double> recoveries;
  for (const DrillRow& row : report.rows) {
    lines.push_back(line_of(row));
    if (row.fault.recovered) {
      recoveries.push_back(*row.fault.recovered);
    }
  }
  std::array<std::size_t, 6> widths{};
  for (const Line& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) {
      widths[i] = std::max(widths[i], line[i].size());
    }
  }
  std::string text;
  for (const Line& line : lines) {
    fmt::format_to(std::back_inserter(text),
                   "{:>{}}  {:<{}}  {:>{}}  {:>{}}  {:>{}}  {}\n",
                   line[0],
                   widths[0],
                   line[1],
                   widths[1],
                   line[2],
                   widths[2],
                   line[3],
                   widths[3],
                   line[4],
                   widths[4],
                   line[5]);
  }
  std::sort(recoveries.begin(), recoveries.end());
  fmt::format_to(std::back_inserter(text),
                 "{} faults in {} runs, of which {} stopped for a reason; median recovery {}; "
                 "losses differ by at most {:.1e} from the run planned with those GPUs missing, "
                 "{:.1e} from the undisturbed run\n",
                 report.rows.size(),
                 report.num_runs,
                 report.num_stopped,
                 recoveries.empty() ? "-" : milliseconds(recoveries[recoveries.size() / 2]),
                 report.worst_from_planned,
                 report.worst_from_calm);
  for (const std::string& broken : report.broken) {
    text += "BROKEN: " + broken + "\n";
  }
  return text;
}

}  // namespace runflat::exec
