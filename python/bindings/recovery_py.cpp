#include "core/document.hpp"
#include "core/error.hpp"
#include "core/plan.hpp"
#include "core/reader.hpp"
#include "core/transition.hpp"
#include "planner/recovery_cost.hpp"
#include "planner/recovery_spec.hpp"
#include "python/bindings/module.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace py = pybind11;

namespace runflat::python {
namespace {

/// The table of a scenario, or of a file with this table alone.
planner::RecoverySpec recovery_of(const std::optional<std::filesystem::path>& file) {
  if (!file) {
    return {};
  }
  const Value document = read_document(*file);
  const Value* table = document.find("recovery");
  if (table == nullptr) {
    throw ParseError(file->string(), "", "has no table recovery");
  }
  return planner::read_recovery(Reader(*table, file->string(), "recovery"));
}

std::map<std::string, std::optional<double>> recovery_costs(
    const std::optional<std::filesystem::path>& costs, const Plan& old, const Plan& next) {
  const planner::RecoverySpec recovery = recovery_of(costs);
  const py::gil_scoped_release unlocked;
  const Expected<Transition, Infeasible> transition = make_transition(old, next);
  const Bytes network = transition ? transition->most_between_domains(old.cluster) : Bytes{};
  const Bytes domain = transition ? transition->most_within_domains(old.cluster) : Bytes{};
  const planner::InPlaceCost cost =
      planner::in_place_cost(recovery, old.layout.num_ranks(), network, domain);
  const auto if_moved = [&](double value) {
    return transition ? std::optional(value) : std::nullopt;
  };
  return {{"detect_crash", recovery.detect_crash.count()},
          {"detect_hang", recovery.detect_hang.count()},
          {"quiesce", cost.quiesce.count()},
          {"communicators", cost.communicators.count()},
          {"move", if_moved(cost.state_copy.count())},
          {"warm_up", cost.warm_up.count()},
          {"restart", recovery.restart.count()},
          {"communicator_base", recovery.communicator_base.count()},
          {"communicator_per_doubling", recovery.communicator_per_doubling.count()},
          {"state_copy_GBps", recovery.state_copy_GBps},
          {"nvlink_copy_GBps", recovery.nvlink_copy_GBps},
          {"network_bytes", if_moved(network.value)},
          {"domain_bytes", if_moved(domain.value)}};
}

}  // namespace

void bind_recovery(py::module_& m) {
  m.def("recovery_costs",
        &recovery_costs,
        py::arg("costs"),
        py::kw_only(),
        py::arg("old"),
        py::arg("next"));
}

}  // namespace runflat::python
