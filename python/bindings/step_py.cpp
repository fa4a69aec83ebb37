#include "core/document.hpp"
#include "core/error.hpp"
#include "core/plan.hpp"
#include "core/timeline.hpp"
#include "python/bindings/module.hpp"
#include "sim/calibration.hpp"
#include "sim/hardware.hpp"
#include "sim/plan_step.hpp"
#include "sim/step_fit.hpp"
#include "sim/validation.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace runflat::python {
namespace {

/// The parameters of a file, in NVLink domains of the plan's size, or of a shipped release.
sim::HardwareParameters hardware_of(const Plan& plan,
                                    const std::string& release,
                                    const std::optional<std::filesystem::path>& file) {
  if (!file) {
    return sim::load_hardware(plan.cluster, release);
  }
  sim::HardwareParameters hardware = sim::read_hardware(*file);
  hardware.fabric.domain_size = plan.cluster.domain_size;
  return hardware;
}

/// The step of a plan as JSON, and its simulated timeline as a Chrome trace.
std::pair<std::string, std::string> price_plan(
    const Plan& plan,
    const std::string& release,
    const std::optional<std::filesystem::path>& hardware) {
  const py::gil_scoped_release unlocked;
  Timeline timeline;
  const auto step = sim::price_plan(plan, hardware_of(plan, release, hardware), &timeline);
  if (!step) {
    throw InfeasibleError(step.error().reason);
  }
  return {to_json_text(to_value(*step)), to_chrome_trace(timeline)};
}

std::vector<sim::GroupKey> keys_named(const std::vector<std::string>& names) {
  std::vector<sim::GroupKey> keys;
  for (const std::string& name : names) {
    keys.push_back(sim::group_key_named(name, "by"));
  }
  return keys;
}

std::string validate_steps(const std::vector<std::filesystem::path>& tables,
                           const std::vector<std::string>& by) {
  const py::gil_scoped_release unlocked;
  const std::vector<sim::GroupKey> keys = keys_named(by);
  return to_json_text(to_value(sim::validate(sim::read_step_tables(tables)), keys));
}

std::string cross_validate_steps(const std::vector<std::filesystem::path>& tables,
                                 const std::vector<std::string>& by,
                                 const std::string& leave_out) {
  const py::gil_scoped_release unlocked;
  const std::vector<sim::GroupKey> keys = keys_named(by);
  const sim::GroupKey key = sim::group_key_named(leave_out, "leave-out");
  return to_json_text(to_value(sim::cross_validate(sim::read_step_tables(tables), key), keys));
}

std::string calibrate(const std::filesystem::path& measured) {
  const py::gil_scoped_release unlocked;
  return sim::calibrate(measured).to_toml();
}

}  // namespace

void bind_step(py::module_& m) {
  m.def("price_plan",
        &price_plan,
        py::arg("plan"),
        py::kw_only(),
        py::arg("release"),
        py::arg("hardware") = std::nullopt);
  m.def("validate_steps", &validate_steps, py::arg("tables"), py::kw_only(), py::arg("by"));
  m.def("cross_validate_steps",
        &cross_validate_steps,
        py::arg("tables"),
        py::kw_only(),
        py::arg("by"),
        py::arg("leave_out"));
  m.def("calibrate", &calibrate, py::arg("measured"));
}

}  // namespace runflat::python
