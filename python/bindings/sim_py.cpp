#include "core/error.hpp"
#include "planner/loss_curve.hpp"
#include "planner/replica_time.hpp"
#include "python/bindings/aggregate.hpp"
#include "python/bindings/infeasible.hpp"
#include "python/bindings/module.hpp"
#include "python/bindings/scenario_py.hpp"
#include "sim/availability.hpp"
#include "sim/down_tally.hpp"
#include "sim/fault_stream.hpp"
#include "sim/hardware.hpp"
#include "sim/step_cost.hpp"
#include "sim/step_terms.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace runflat::python {
namespace {

using planner::PolicyKind;
using planner::Scenario;

double domain_availability(std::int64_t num_gpus,
                           std::int64_t num_failed,
                           std::int64_t domain_size) {
  require(0 <= num_failed && num_failed <= num_gpus && 1 <= domain_size && domain_size <= num_gpus,
          "some of the GPUs have failed, and a domain is a part of them");
  return sim::group_availability({.num_gpus = num_gpus, .num_failed = num_failed}, domain_size);
}

/// Mean, peak and share of the time above a number.
using DownGpus = std::tuple<double, std::int32_t, double>;

std::vector<DownGpus> down_gpus(const LoadedScenario& loaded,
                                std::int64_t trials,
                                std::uint64_t seed,
                                double above) {
  const py::gil_scoped_release release;
  const Scenario& scenario = loaded.scenario;
  std::vector<DownGpus> all;
  for (std::int64_t trial = 0; trial < trials; ++trial) {
    const sim::ClusterShape shape = scenario.shape_with_spares(0);
    const sim::SimTime duration = sim::to_sim_time(scenario.duration);
    sim::FaultStream faults(
        scenario.failures, shape, duration, seed, static_cast<std::uint32_t>(trial));
    sim::DownTally tally(shape, sim::BlastRadius::gpu, duration);
    while (const auto window = faults.next()) {
      tally.live_through(*window);
    }
    const sim::DownTimes down = std::move(tally).finish();
    all.emplace_back(down.mean(), down.max(), down.fraction_above(above));
  }
  return all;
}

std::vector<double> loss_curve(const LoadedScenario& loaded,
                               const std::string& policy,
                               const std::vector<std::int64_t>& num_failures,
                               std::int32_t gpus_per_failure,
                               std::int64_t placements,
                               std::uint64_t seed) {
  const py::gil_scoped_release release;
  const Scenario& scenario = loaded.scenario;
  const PolicyKind kind = policy_named(policy);
  const planner::PolicyRates rates = value_or_throw(planner::scenario_rates(kind, scenario));
  const sim::SiteShape shape = scenario.site_shape(kind);
  std::vector<double> losses;
  losses.reserve(num_failures.size());
  for (const std::int64_t failures : num_failures) {
    losses.push_back(
        planner::mean_loss(kind, rates, shape, failures, placements, seed, gpus_per_failure));
  }
  return losses;
}

py::object replica_rates(const LoadedScenario& loaded, const std::string& policy) {
  const auto rates = value_or_throw(planner::scenario_rates(policy_named(policy), loaded.scenario));
  Value::Array replicas;
  for (std::size_t degree = 1; degree < rates.reduced.size(); ++degree) {
    replicas.emplace_back(
        Value::Object{{"tp_size", static_cast<std::int64_t>(degree)},
                      {"num_microbatches", rates.reduced[degree].num_microbatches},
                      {"power", rates.reduced[degree].power}});
  }
  return to_python(replicas);
}

py::object replica_step(const LoadedScenario& loaded,
                        std::int64_t tp_size,
                        std::int64_t sync_degree,
                        std::int64_t num_microbatches,
                        double power) {
  const Scenario& scenario = loaded.scenario;
  const sim::StepQuery query = planner::step_query(scenario,
                                                   {.tp_size = tp_size,
                                                    .sync_degree = sync_degree,
                                                    .num_microbatches = num_microbatches,
                                                    .power = power});
  const sim::HardwareParameters on =
      sim::load_hardware(scenario.cluster, scenario.software_release);
  const sim::StepCost cost = value_or_throw(sim::step_cost(scenario.model, query, on));
  const sim::StepTerms terms = sim::step_terms(scenario.model, query, on);
  const Seconds backward = terms.layer.backward.total() * terms.share.layers;
  return to_python(Value::Object{{"step_time_s", cost.step_time.count()},
                                 {"mfu", cost.mfu},
                                 {"fits_memory", sim::fits_memory(cost, on)},
                                 {"memory_bytes", cost.memory.peak().value},
                                 {"backward_s", backward.count()},
                                 {"reshard_in_s", terms.sync.reshard_in.count()},
                                 {"reduce_s", terms.sync.reduce.count()},
                                 {"reshard_s", cost.breakdown.reshard.count()}});
}

}  // namespace

void bind_sim(py::module_& m) {
  m.def("domain_availability",
        &domain_availability,
        py::arg("num_gpus"),
        py::arg("num_failed"),
        py::arg("domain_size"));
  m.def("down_gpus",
        &down_gpus,
        py::arg("scenario"),
        py::kw_only(),
        py::arg("trials"),
        py::arg("seed"),
        py::arg("above"));
  m.def("loss_curve",
        &loss_curve,
        py::arg("scenario"),
        py::kw_only(),
        py::arg("policy"),
        py::arg("num_failures"),
        py::arg("gpus_per_failure") = 1,
        py::arg("placements"),
        py::arg("seed"));
  m.def("replica_rates", &replica_rates, py::arg("scenario"), py::kw_only(), py::arg("policy"));
  m.def("replica_step",
        &replica_step,
        py::arg("scenario"),
        py::kw_only(),
        py::arg("tp_size"),
        py::arg("sync_degree"),
        py::arg("num_microbatches"),
        py::arg("power") = 1.0);
}

}  // namespace runflat::python
