#include "core/megatron_export.hpp"
#include "core/plan.hpp"
#include "planner/plan_job.hpp"
#include "python/bindings/aggregate.hpp"
#include "python/bindings/infeasible.hpp"
#include "python/bindings/module.hpp"
#include "python/bindings/scenario_py.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace runflat::python {
namespace {

Plan plan(const LoadedScenario& loaded,
          const std::vector<std::int64_t>& failed,
          const std::string& policy_name) {
  const planner::PolicyKind policy = policy_named(policy_name);
  const planner::Scenario& scenario = loaded.scenario;
  const std::int64_t num_gpus = scenario.shape_with_spares(scenario.spares_of(policy)).num_gpus();
  std::vector<GpuId> down;
  for (const std::int64_t gpu : failed) {
    if (gpu < 0 || gpu >= num_gpus) {
      throw ParseError("failed",
                       "",
                       "expected GPUs from 0 to " + std::to_string(num_gpus - 1) + ", found " +
                           std::to_string(gpu));
    }
    down.emplace_back(gpu);
  }
  const py::gil_scoped_release release;
  return value_or_throw(planner::plan_job(scenario, policy, Health(std::move(down))));
}

std::vector<std::int64_t> numbers_of(const std::vector<GpuId>& gpus) {
  std::vector<std::int64_t> numbers;
  for (const GpuId gpu : gpus) {
    numbers.push_back(gpu.value());
  }
  return numbers;
}

/// Megatron's configuration as JSON, and what a person must know to use it: the plan's replicas and
/// slots may have to stand in another order, which its branch can run.
std::pair<std::string, std::vector<std::string>> to_megatron(const Plan& plan) {
  const MegatronOrder order = order_for_megatron(plan.layout);
  MegatronNtpExport exported = value_or_throw(to_megatron_ntp(order.layout));
  if (!(order.layout == plan.layout)) {
    std::string note = "Megatron's replicas are those of the plan in the order";
    for (const DpRank replica : order.replicas) {
      note += " " + std::to_string(replica.value());
    }
    exported.notes.push_back(note + "; in each TP group the GPUs that do not run stand last");
  }
  return {to_json_text(to_value(exported.config)), exported.notes};
}

}  // namespace

void bind_plan(py::module_& m) {
  bind_aggregate<Plan>(m, "Plan", &read_plan, &runflat::to_value)
      .def_readonly("policy", &Plan::policy)
      .def_readonly("reasons", &Plan::reasons)
      .def_readonly("cluster", &Plan::cluster)
      .def_readonly("model", &Plan::model)
      .def_property_readonly("num_ranks", [](const Plan& self) { return self.layout.num_ranks(); })
      .def_property_readonly("global_batch_size", &Plan::global_batch_size)
      .def_property_readonly("failed", [](const Plan& self) { return numbers_of(self.failed); })
      .def("to_megatron", &to_megatron);
  m.def("plan", &plan, py::arg("scenario"), py::kw_only(), py::arg("failed"), py::arg("policy"));
}

}  // namespace runflat::python
