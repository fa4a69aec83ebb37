#include "core/document.hpp"
#include "core/error.hpp"
#include "planner/scenario_trace.hpp"
#include "planner/what_if.hpp"
#include "python/bindings/infeasible.hpp"
#include "python/bindings/module.hpp"
#include "python/bindings/scenario_py.hpp"

#include <pybind11/functional.h>
#include <pybind11/operators.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace py = pybind11;

namespace runflat::python {
namespace {

using planner::MeanInterval;
using planner::PolicyDifference;
using planner::PolicyKind;
using planner::PolicyResult;
using planner::Summary;
using planner::WhatIfRequest;
using planner::WhatIfResult;

std::vector<PolicyKind> distinct_policies(const std::vector<std::string>& names) {
  std::vector<PolicyKind> policies;
  for (const std::string& name : names) {
    const PolicyKind policy = policy_named(name);
    if (std::find(policies.begin(), policies.end(), policy) != policies.end()) {
      throw ParseError("policies", "", "'" + name + "' is named twice");
    }
    policies.push_back(policy);
  }
  return policies;
}

WhatIfResult what_if(const LoadedScenario& loaded,
                     const std::vector<std::string>& policies,
                     std::int64_t trials,
                     std::optional<double> until_ci,
                     std::int64_t max_trials,
                     std::uint64_t seed,
                     std::int64_t threads,
                     const std::optional<std::filesystem::path>& trace,
                     bool loss_curves,
                     std::function<void(std::int64_t, std::int64_t)> progress) {
  if (until_ci && !(*until_ci > 0.0)) {
    throw ParseError("until_ci", "", "expected a positive half width, as in 0.001");
  }
  // Without the GIL; `progress` takes it for each of its calls.
  const py::gil_scoped_release release;
  WhatIfRequest request{.scenario = loaded.scenario,
                        .num_trials = trials,
                        .stop = {},
                        .seed = seed,
                        .num_threads = threads,
                        .trace = {},
                        .with_loss_curves = loss_curves,
                        .progress = std::move(progress)};
  if (!policies.empty()) {
    request.policies = distinct_policies(policies);
  }
  if (until_ci) {
    request.stop = planner::StopRule{.half_width = *until_ci, .max_trials = max_trials};
  }
  if (trace) {
    request.trace = value_or_throw(planner::read_scenario_trace(*trace, loaded.scenario));
  }
  return value_or_throw(planner::run_what_if(request));
}

void bind_intervals(py::module_& m) {
  py::class_<MeanInterval>(m, "MeanInterval")
      .def_readonly("mean", &MeanInterval::mean)
      .def_readonly("half_width", &MeanInterval::half_width)
      .def("__repr__",
           [](const MeanInterval& self) {
             return self.half_width ? fmt::format("MeanInterval(mean={:.5f}, half_width={:.5f})",
                                                  self.mean,
                                                  *self.half_width)
                                    : fmt::format("MeanInterval(mean={:.5f})", self.mean);
           })
      .def(py::self == py::self);
  py::class_<PolicyDifference>(m, "PolicyDifference")
      .def_property_readonly("policy",
                             [](const PolicyDifference& self) { return to_string(self.policy); })
      .def_property_readonly("minus",
                             [](const PolicyDifference& self) { return to_string(self.other); })
      .def_readonly("goodput", &PolicyDifference::goodput);
}

void bind_results(py::module_& m) {
  py::class_<Summary>(m, "Summary")
      .def_readonly("mean", &Summary::mean)
      .def_readonly("p5", &Summary::p5)
      .def_readonly("p50", &Summary::p50)
      .def_readonly("p95", &Summary::p95)
      .def("__repr__",
           [](const Summary& self) {
             return fmt::format("Summary(mean={:.4f}, p5={:.4f}, p50={:.4f}, p95={:.4f})",
                                self.mean,
                                self.p5,
                                self.p50,
                                self.p95);
           })
      .def(py::self == py::self);
  py::class_<PolicyResult>(m, "PolicyResult")
      .def_property_readonly("policy",
                             [](const PolicyResult& self) { return to_string(self.policy); })
      .def_readonly("goodput", &PolicyResult::goodput)
      .def_readonly("goodput_interval", &PolicyResult::goodput_interval)
      .def_readonly("availability", &PolicyResult::availability)
      .def_property_readonly("lost_gpu_hours", &PolicyResult::lost_gpu_hours)
      .def_readonly("owned_gpu_hours", &PolicyResult::owned_gpu_hours)
      .def_readonly("spare_domains", &PolicyResult::spare_domains)
      .def_readonly("spares_for_99pct", &PolicyResult::spares_for_99pct)
      .def_readonly("peak_spares", &PolicyResult::peak_spares)
      .def_readonly("num_interruptions", &PolicyResult::num_interruptions)
      .def_readonly("num_rejoins", &PolicyResult::num_rejoins)
      .def_property_readonly("step_time_s",
                             [](const PolicyResult& self) { return self.step_time.count(); })
      .def("__repr__", [](const PolicyResult& self) {
        return fmt::format("PolicyResult(policy='{}', goodput={:.4f}, spares_for_99pct={})",
                           to_string(self.policy),
                           self.goodput.mean,
                           self.spares_for_99pct);
      });
  py::class_<WhatIfResult>(m, "WhatIfResult")
      .def_readonly("policies", &WhatIfResult::policies)
      .def_readonly("differences", &WhatIfResult::differences)
      .def_readonly("num_trials", &WhatIfResult::num_trials)
      .def("to_json", [](const WhatIfResult& self) { return to_json_text(to_value(self)); });
}

}  // namespace

PolicyKind policy_named(const std::string& name) {
  std::string known;
  for (const PolicyKind policy : planner::kAllPolicies) {
    if (to_string(policy) == name) {
      return policy;
    }
    known += (known.empty() ? "" : ", ") + std::string(to_string(policy));
  }
  throw ParseError("policies", "", "expected some of " + known + ", found '" + name + "'");
}

void bind_what_if(py::module_& m) {
  bind_intervals(m);
  bind_results(m);
  m.def("what_if",
        &what_if,
        py::arg("scenario"),
        py::kw_only(),
        py::arg("policies"),
        py::arg("trials"),
        py::arg("until_ci") = py::none(),
        py::arg("max_trials") = 10'000,
        py::arg("seed"),
        py::arg("threads"),
        py::arg("trace"),
        py::arg("loss_curves") = true,
        py::arg("progress"));
}

}  // namespace runflat::python
