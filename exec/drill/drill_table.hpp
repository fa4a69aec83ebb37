#pragma once

#include "exec/drill/drill.hpp"

#include <string>

namespace runflat::exec {

/// A row for every fault, a summary, and a line for everything that must not happen.
[[nodiscard]] std::string drill_table(const DrillReport& report);

}  // namespace runflat::exec
