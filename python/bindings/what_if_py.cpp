#include "core/document.hpp"
#include "core/error.hpp"
#include "planner/what_if.hpp"
#include "python/bindings/module.hpp"
#include "python/bindings/scenario_py.hpp"

#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace py = pybind11;

namespace runflat::python {
namespace {

using planner::PolicyKind;
using planner::WhatIfRequest;

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

std::string what_if(const LoadedScenario& loaded,
                    const std::vector<std::string>& policies,
                    std::int64_t trials,
                    std::uint64_t seed,
                    std::int64_t threads,
                    const std::optional<std::filesystem::path>& trace,
                    std::function<void(std::int64_t, std::int64_t)> progress) {
  // Without the GIL; `progress` takes it for each of its calls.
  const py::gil_scoped_release release;
  WhatIfRequest request{.scenario = loaded.scenario,
                        .num_trials = trials,
                        .seed = seed,
                        .num_threads = threads,
                        .trace = {},
                        .progress = std::move(progress)};
  if (!policies.empty()) {
    request.policies = distinct_policies(policies);
  }
  if (trace) {
    request.trace = sim::read_fault_trace(*trace, loaded.scenario.shape_with_spares(0));
  }
  const auto result = planner::run_what_if(request);
  if (!result) {
    throw InfeasibleError(result.error().reason);
  }
  return to_json_text(to_value(*result));
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
  m.def("what_if",
        &what_if,
        py::arg("scenario"),
        py::kw_only(),
        py::arg("policies"),
        py::arg("trials"),
        py::arg("seed"),
        py::arg("threads"),
        py::arg("trace"),
        py::arg("progress"));
}

}  // namespace runflat::python
