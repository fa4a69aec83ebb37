#pragma once

#include "core/document.hpp"
#include "planner/scenario.hpp"

#include <filesystem>
#include <string>

namespace runflat::planner {

[[nodiscard]] inline std::filesystem::path shipped_scenarios() {
  return std::filesystem::path(RUNFLAT_SOURCE_DIR) / "python" / "runflat" / "scenarios";
}

/// A scenario that comes with the package, by its name.
[[nodiscard]] inline Scenario shipped_scenario(const std::string& name) {
  const Value document = read_document(shipped_scenarios() / (name + ".toml"));
  return read_scenario(Reader(document, name + ".toml"));
}

}  // namespace runflat::planner
