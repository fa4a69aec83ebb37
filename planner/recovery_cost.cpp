#include "planner/recovery_cost.hpp"

#include "sim/checkpoint_interval.hpp"

#include <algorithm>
#include <cmath>

namespace runflat::planner {
namespace {

Seconds in_place(const Scenario& scenario) {
  const RecoverySpec& recovery = scenario.recovery;
  const auto ranks = static_cast<double>(scenario.layout.num_ranks());
  const BytesPerSecond bandwidth{recovery.state_copy_GBps * 1e9};
  return recovery.quiesce + recovery.communicator_base +
         recovery.communicator_per_doubling * std::log2(ranks) + recovery.state_copy_base +
         state_of_one_gpu(scenario) / bandwidth + recovery.warm_up;
}

struct PolicyPauses {
  Seconds fault;   ///< back after a hardware fault, or after waiting
  Seconds rejoin;  ///< repaired hardware comes back
  bool from_checkpoint = false;
};

PolicyPauses pauses(PolicyKind policy, const Scenario& scenario) {
  const RecoverySpec& recovery = scenario.recovery;
  switch (policy) {
    case PolicyKind::restart:
    case PolicyKind::uniform_tp:
      return {recovery.restart, recovery.restart, true};
    case PolicyKind::spare_domain:
      return {recovery.spare_swap, recovery.rejoin, false};
    case PolicyKind::train_mover:
      return {recovery.standby_swap, recovery.standby_swap, false};
    case PolicyKind::dp_drop:
      return {in_place(scenario), recovery.rejoin, false};
    case PolicyKind::ntp:
    case PolicyKind::ntp_pw:
    case PolicyKind::recycle:
    case PolicyKind::oobleck:
    case PolicyKind::adaptive:  // where it follows none of the others
      return {in_place(scenario), in_place(scenario), false};
  }
  return {};
}

}  // namespace

Bytes state_of_one_gpu(const Scenario& scenario) {
  constexpr double kBytesPerParameter = 2.0 + 4.0 + 4.0 + 4.0;
  return Bytes{kBytesPerParameter * static_cast<double>(scenario.model.num_parameters()) /
               static_cast<double>(scenario.layout.tp * scenario.layout.pp)};
}

std::array<sim::ChangeCost, sim::kNumChanges> change_costs(PolicyKind policy,
                                                           const Scenario& scenario) {
  const Seconds restart = scenario.recovery.restart;
  PolicyPauses of = pauses(policy, scenario);
  if (!scenario.recovery.peer_state) {
    of.fault = std::max(of.fault, restart);
    of.from_checkpoint = true;
  }
  std::array<sim::ChangeCost, sim::kNumChanges> costs;
  const auto set = [&](sim::Change change, Seconds pause, bool rolls_back) {
    costs[static_cast<std::size_t>(change)] = {.pause = sim::to_sim_time(pause),
                                               .rolls_back = rolls_back};
  };
  set(sim::Change::hardware_fault, of.fault, of.from_checkpoint);
  set(sim::Change::software_fault, restart, true);
  set(sim::Change::resume, of.fault, false);
  set(sim::Change::rejoin, of.rejoin, false);
  return costs;
}

FaultRates fault_rates(const Scenario& scenario) {
  FaultRates rates;
  const auto nodes = static_cast<double>(scenario.cluster.num_nodes);
  for (const sim::FailureClass& kind : scenario.failures.classes) {
    if (kind.slow) {
      continue;  // a straggler interrupts nothing
    }
    const double per_day = kind.rate_per_node_day * scenario.failures.scale * nodes;
    const bool is_software = kind.blast_radius == sim::BlastRadius::job;
    (is_software ? rates.software_per_day : rates.hardware_per_day) += per_day;
  }
  return rates;
}

sim::CheckpointSchedule checkpoint_schedule(PolicyKind policy,
                                            const Scenario& scenario,
                                            const FaultRates& rates) {
  const CheckpointSpec& spec = scenario.checkpoint;
  const bool hardware_rolls_back =
      change_costs(policy, scenario)[static_cast<std::size_t>(sim::Change::hardware_fault)]
          .rolls_back;
  const double per_day =
      rates.software_per_day + (hardware_rolls_back ? rates.hardware_per_day : 0.0);
  Seconds interval = spec.longest_interval;
  if (spec.interval) {
    interval = *spec.interval;
  } else if (per_day > 0.0 && spec.cost.count() > 0.0) {
    interval = std::min(interval, sim::young_interval(spec.cost, Days{1.0 / per_day}));
  }
  return {.interval = std::max(sim::to_sim_time(interval), sim::SimTime{1}),
          .cost = sim::to_sim_time(spec.cost)};
}

}  // namespace runflat::planner
