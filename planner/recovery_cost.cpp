#include "planner/recovery_cost.hpp"

#include "core/state_slice.hpp"
#include "sim/checkpoint_interval.hpp"

#include <algorithm>
#include <cmath>

namespace runflat::planner {
namespace {

constexpr double kGiga = 1e9;

Seconds communicator_time(const RecoverySpec& recovery, std::int64_t num_ranks) {
  const auto ranks = static_cast<double>(num_ranks);
  switch (recovery.communicators) {
    case Communicators::shrink:
      return recovery.communicator_base + recovery.communicator_per_doubling * std::log2(ranks);
    case Communicators::reinitialise: {
      constexpr double kMeasuredRanks = 98304.0;
      const double share = ranks / kMeasuredRanks;
      return recovery.communicator_init + recovery.communicator_init_at_96k * share * share;
    }
  }
  return {};
}

Seconds copy_time(const RecoverySpec& recovery, Bytes over_network, Bytes within_domain) {
  return recovery.state_copy_base +
         over_network / BytesPerSecond{recovery.state_copy_GBps * kGiga} +
         within_domain / BytesPerSecond{recovery.nvlink_copy_GBps * kGiga};
}

Seconds in_place(const Scenario& scenario) {
  return in_place_cost(scenario.recovery, scenario.layout.num_ranks(), state_of_one_gpu(scenario))
      .total();
}

Seconds load_time(const Scenario& scenario) {
  return state_of_job(scenario) / BytesPerSecond{scenario.checkpoint.load_GBps * kGiga};
}

Seconds restart_time(const Scenario& scenario) {
  const RecoverySpec& recovery = scenario.recovery;
  return recovery.start
             ? *recovery.start + load_time(scenario) +
                   communicator_time(recovery, scenario.layout.num_ranks()) + recovery.warm_up
             : recovery.restart;
}

/// A restart whose state is in the memory of the hosts.
Seconds restart_from_memory(const Scenario& scenario) {
  const Seconds without_load = restart_time(scenario) - load_time(scenario);
  return std::max(Seconds{0.0}, without_load) +
         copy_time(scenario.recovery, state_of_one_gpu(scenario), Bytes{});
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
      return {restart_time(scenario), restart_time(scenario), true};
    case PolicyKind::spare_domain:
      return {recovery.hot_spares ? recovery.standby_swap : recovery.spare_swap,
              recovery.rejoin,
              false};
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

Seconds detection_time(sim::Detection detection, const RecoverySpec& recovery) {
  switch (detection) {
    case sim::Detection::crash:
      return recovery.detect_crash;
    case sim::Detection::hang:
      return recovery.detect_hang;
    case sim::Detection::timeout:
      return recovery.detect_timeout;
    case sim::Detection::planned:
      return {};
  }
  return {};
}

/// Of hardware faults; of crashes where there are none.
Seconds mean_detection(const Scenario& scenario) {
  Seconds sum{};
  double rate = 0.0;
  for (const sim::FailureClass& kind : scenario.failures.classes) {
    if (!kind.slow && kind.blast_radius != sim::BlastRadius::job) {
      sum += kind.rate_per_node_day * detection_time(kind.detection, scenario.recovery);
      rate += kind.rate_per_node_day;
    }
  }
  return rate > 0.0 ? sum / rate : scenario.recovery.detect_crash;
}

}  // namespace

InPlaceCost in_place_cost(const RecoverySpec& recovery,
                          std::int64_t num_ranks,
                          Bytes over_network,
                          Bytes within_domain) {
  return {.quiesce = recovery.quiesce + recovery.quiesce_pending,
          .communicators = communicator_time(recovery, num_ranks),
          .state_copy = copy_time(recovery, over_network, within_domain),
          .warm_up = recovery.warm_up};
}

Bytes state_of_one_gpu(const Scenario& scenario) {
  return state_of_job(scenario) / static_cast<double>(scenario.layout.tp * scenario.layout.pp);
}

Bytes state_of_job(const Scenario& scenario) {
  return Bytes{static_cast<double>(kStateBytesPerParameter) *
               static_cast<double>(scenario.model.num_parameters())};
}

Seconds transition_time(const Transition& transition, const Scenario& scenario) {
  if (transition.is_empty()) {
    return {};
  }
  return in_place_cost(scenario.recovery,
                       scenario.layout.num_ranks(),
                       transition.most_between_domains(scenario.cluster),
                       transition.most_within_domains(scenario.cluster))
      .total();
}

std::array<sim::ChangeCost, sim::kNumChanges> change_costs(PolicyKind policy,
                                                           const Scenario& scenario) {
  const Seconds restart = restart_time(scenario);
  const sim::SimTime from_memory = sim::to_sim_time(restart_from_memory(scenario));
  PolicyPauses of = pauses(policy, scenario);
  if (!scenario.recovery.peer_state) {
    of.fault = std::max(of.fault, restart);
    of.from_checkpoint = true;
  }
  std::array<sim::ChangeCost, sim::kNumChanges> costs;
  const auto set = [&](sim::Change change, Seconds pause, bool rolls_back) {
    costs[static_cast<std::size_t>(change)] = {.pause = sim::to_sim_time(pause),
                                               .rolls_back = rolls_back,
                                               .pause_from_memory = from_memory};
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
    rates.add(kind.blast_radius, kind.rate_per_node_day * scenario.failures.scale * nodes);
  }
  return rates;
}

sim::Interruptions interruptions(PolicyKind policy,
                                 const Scenario& scenario,
                                 const FaultRates& rates,
                                 Seconds step_time) {
  constexpr double kSecondsPerDay = 86'400.0;
  const sim::ChangeCost cost =
      change_costs(policy, scenario)[static_cast<std::size_t>(sim::Change::hardware_fault)];
  const Seconds redone =
      cost.rolls_back ? sim::to_seconds(checkpoint_schedule(policy, scenario, rates).interval)
                      : step_time;
  return {.of_job_per_second = rates.software_per_day / kSecondsPerDay,
          .per_gpu_second = rates.hardware_per_day / kSecondsPerDay /
                            static_cast<double>(scenario.cluster.num_gpus()),
          .cost = mean_detection(scenario) + sim::to_seconds(cost.pause) + redone / 2.0};
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
  const bool is_known = per_day > 0.0 && spec.cost.count() > 0.0;
  const Seconds mean_gap = is_known ? Seconds{Days{1.0 / per_day}} : Seconds{0.0};
  Seconds interval = spec.longest_interval;
  if (spec.interval) {
    interval = *spec.interval;
  } else if (is_known && spec.rule != IntervalRule::adaptive) {
    interval = std::min(interval,
                        spec.rule == IntervalRule::daly ? sim::daly_interval(spec.cost, mean_gap)
                                                        : sim::young_interval(spec.cost, mean_gap));
  }
  sim::CheckpointSchedule schedule{
      .interval = std::max(sim::to_sim_time(interval), sim::SimTime{1}),
      .cost = sim::to_sim_time(spec.cost)};
  if (spec.kind != CheckpointKind::synchronous) {
    schedule.background =
        sim::to_sim_time(state_of_job(scenario) / BytesPerSecond{spec.save_GBps * kGiga});
  }
  if (spec.kind == CheckpointKind::in_memory) {
    const sim::SimTime cycle = schedule.interval + schedule.cost;
    schedule.snapshots_per_stored =
        std::max<std::int64_t>(1, sim::to_sim_time(spec.stored_interval) / cycle);
    schedule.survives = spec.survives;
  }
  if (spec.rule == IntervalRule::adaptive) {
    schedule.first_mean_gap = sim::to_sim_time(mean_gap);
  }
  return schedule;
}

}  // namespace runflat::planner
