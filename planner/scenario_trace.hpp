#pragma once

#include "core/error.hpp"
#include "planner/scenario.hpp"
#include "sim/injected_trace.hpp"
#include "sim/trace.hpp"

#include <filesystem>

namespace runflat::planner {

/// How the scenario's job lives through faults on demand: broken connections cost what recovery in
/// place does without moving state. Infeasible when the healthy job cannot run.
[[nodiscard]] Expected<sim::InjectionSpec, Infeasible> injection_spec(const Scenario& scenario);

/// Dated faults for the scenario's cluster: a trace in comma-separated values, or, in .toml and
/// .json, the faults that `runflat train --inject` takes. ParseError where the file is wrong.
[[nodiscard]] Expected<sim::FaultTrace, Infeasible> read_scenario_trace(
    const std::filesystem::path& path, const Scenario& scenario);

}  // namespace runflat::planner
