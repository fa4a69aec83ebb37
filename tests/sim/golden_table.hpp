#pragma once

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace runflat::sim {

/// The rows of a text file of tests/golden: fields between blanks, `#` starts a comment line.
[[nodiscard]] inline std::vector<std::vector<std::string>> read_golden(const std::string& name) {
  std::ifstream file(std::filesystem::path(RUNFLAT_SOURCE_DIR) / "tests" / "golden" / name);
  std::vector<std::vector<std::string>> rows;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.front() == '#') {
      continue;
    }
    std::istringstream fields(line);
    std::vector<std::string>& row = rows.emplace_back();
    for (std::string field; fields >> field;) {
      row.push_back(field);
    }
  }
  return rows;
}

}  // namespace runflat::sim
