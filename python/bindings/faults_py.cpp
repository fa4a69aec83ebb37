#include "core/document.hpp"
#include "core/error.hpp"
#include "core/reader.hpp"
#include "python/bindings/module.hpp"
#include "python/bindings/scenario_py.hpp"
#include "sim/failure_fit.hpp"
#include "sim/fault_file.hpp"
#include "sim/fault_sampler.hpp"
#include "sim/trace.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <cstdint>
#include <filesystem>
#include <fmt/format.h>
#include <string>
#include <utility>

namespace py = pybind11;

namespace runflat::python {
namespace {

/// The fitted model as TOML and everything that was found as JSON.
std::pair<std::string, std::string> fit_faults(const std::filesystem::path& path,
                                               std::int32_t num_nodes,
                                               std::int32_t gpus_per_node,
                                               std::int32_t domain_size,
                                               double observed_days,
                                               std::uint32_t replicas,
                                               std::size_t least_faults,
                                               std::uint64_t seed) {
  const py::gil_scoped_release release;
  const sim::ClusterShape shape{
      .num_nodes = num_nodes, .gpus_per_node = gpus_per_node, .domain_size = domain_size};
  const sim::FaultTrace trace = sim::read_fault_trace(path, shape);
  if (trace.faults.size() < sim::kLeastFaultsOfFit) {
    throw ParseError(
        path.string(),
        "",
        fmt::format(
            "expected at least {} faults, found {}", sim::kLeastFaultsOfFit, trace.faults.size()));
  }
  if (observed_days > 0.0 && Days{observed_days} < sim::kShortestRecord) {
    throw ParseError(path.string(), "", "expected at least a day observed");
  }
  constexpr double kRounding = 1.0;  // who counts whole days leaves out the last
  if (observed_days > 0.0 &&
      sim::to_days(trace.faults.back().begin).count() > observed_days + kRounding) {
    throw ParseError(path.string(),
                     "",
                     fmt::format("expected no faults after the {} days observed", observed_days));
  }
  const sim::FailureFit fit = sim::fit_failures(trace,
                                                shape,
                                                {.observed = Days{observed_days},
                                                 .least_faults = least_faults,
                                                 .num_replicas = replicas,
                                                 .seed = seed});
  return {sim::fault_file_toml(fit, shape), to_json_text(sim::to_value(fit))};
}

std::string sample_csv(const sim::FailureModel& model,
                       const sim::ClusterShape& shape,
                       double days,
                       std::uint64_t seed) {
  sim::FaultTimeline timeline =
      sim::sample_faults(model, shape, sim::to_sim_time(Days{days}), seed, 0);
  std::erase_if(timeline.faults, [](const sim::Fault& fault) {
    return fault.begin < sim::SimTime::zero();  // down before the first day of the trace
  });
  std::erase_if(timeline.slowdowns, [](const sim::Slowdown& slowdown) {
    return slowdown.begin < sim::SimTime::zero();
  });
  return sim::fault_trace_csv({.faults = std::move(timeline.faults),
                               .class_names = model.class_names(),
                               .slowdowns = std::move(timeline.slowdowns)});
}

/// Of a scenario, or of a file that holds a cluster and its failures only.
std::string sample_faults(const std::filesystem::path& path, double days, std::uint64_t seed) {
  const py::gil_scoped_release release;
  const Value document = read_document(path);
  if (document.find("model") != nullptr) {
    const planner::Scenario scenario = load_scenario(path, {}).scenario;
    return sample_csv(scenario.failures, scenario.shape_with_spares(0), days, seed);
  }
  const sim::FaultFile file = sim::read_fault_file(Reader(document, path.string()));
  return sample_csv(file.model, file.shape, days, seed);
}

}  // namespace

void bind_faults(py::module_& m) {
  m.def("fit_faults",
        &fit_faults,
        py::arg("trace"),
        py::kw_only(),
        py::arg("num_nodes"),
        py::arg("gpus_per_node"),
        py::arg("domain_size"),
        py::arg("observed_days"),
        py::arg("replicas"),
        py::arg("least_faults"),
        py::arg("seed"));
  m.def("sample_faults",
        &sample_faults,
        py::arg("file"),
        py::kw_only(),
        py::arg("days"),
        py::arg("seed"));
}

}  // namespace runflat::python
