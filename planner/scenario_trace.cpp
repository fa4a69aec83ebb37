#include "planner/scenario_trace.hpp"

#include "core/document.hpp"
#include "core/injected_fault.hpp"
#include "core/reader.hpp"
#include "planner/recovery_cost.hpp"
#include "planner/replica_time.hpp"

namespace runflat::planner {

Expected<sim::InjectionSpec, Infeasible> injection_spec(const Scenario& scenario) {
  const auto step_time = healthy_step_time(scenario);
  if (!step_time) {
    return step_time.error();
  }
  const InPlaceCost cost = in_place_cost(scenario.recovery, scenario.layout.num_ranks(), Bytes{});
  return sim::InjectionSpec{.step_time = *step_time,
                            .compute_share = step_shares(scenario).compute,
                            .detect_hang = scenario.recovery.detect_hang,
                            .reconnect = cost.total() - cost.state_copy};
}

Expected<sim::FaultTrace, Infeasible> read_scenario_trace(const std::filesystem::path& path,
                                                          const Scenario& scenario) {
  const sim::ClusterShape shape = scenario.shape_with_spares(0);
  if (path.extension() != ".toml" && path.extension() != ".json") {
    return sim::read_fault_trace(path, shape);
  }
  const Value document = read_document(path);
  const std::vector<InjectedFault> faults = read_faults(Reader(document, path.string()));
  const auto spec = injection_spec(scenario);
  if (!spec) {
    return spec.error();
  }
  return sim::injected_trace(faults, shape, *spec);
}

}  // namespace runflat::planner
