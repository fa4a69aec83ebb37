#pragma once

#include "core/value.hpp"
#include "planner/scenario.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace runflat::python {

/// A scenario together with the document that it was read from, overrides applied: the document is
/// what reports show and what equality compares.
struct LoadedScenario {
  planner::Scenario scenario;
  Value document;
  std::string file;  ///< for messages

  friend bool operator==(const LoadedScenario& a, const LoadedScenario& b) {
    return a.document == b.document;
  }
};

/// Reads a TOML or JSON file and applies `key.path=value` overrides. ParseError as read_scenario.
[[nodiscard]] LoadedScenario load_scenario(const std::filesystem::path& file,
                                           const std::vector<std::string>& overrides);

/// ParseError with the names that exist for any other.
[[nodiscard]] planner::PolicyKind policy_named(const std::string& name);

}  // namespace runflat::python
