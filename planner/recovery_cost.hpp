#pragma once

#include "core/transition.hpp"
#include "core/units.hpp"
#include "planner/policy.hpp"
#include "planner/scenario.hpp"
#include "sim/job_life.hpp"

#include <array>
#include <cstdint>

namespace runflat::planner {

/// The parts of a recovery in place; what comes before is detection, what follows the redone step.
struct InPlaceCost {
  Seconds quiesce{};
  Seconds communicators{};
  Seconds state_copy{};
  Seconds warm_up{};

  [[nodiscard]] Seconds total() const { return quiesce + communicators + warm_up + state_copy; }
};

/// On a job of so many ranks, with the bytes that the busiest GPU copies over the network and
/// within its NVLink domain.
[[nodiscard]] InPlaceCost in_place_cost(const RecoverySpec& recovery,
                                        std::int64_t num_ranks,
                                        Bytes over_network,
                                        Bytes within_domain = {});

/// What each change of a job costs under a policy, by sim::Change. Detection is apart.
/// In-place recovery takes quiesce + communicators (shrunk or new, see RecoverySpec) + state copy
/// (base + the mean state of one GPU / network bandwidth) + warm-up; the other times are the
/// scenario's. A software fault kills every process and costs a restart from the checkpoint under
/// every policy. A restart from snapshots in memory takes the state of one GPU over the network in
/// place of the load from storage.
[[nodiscard]] std::array<sim::ChangeCost, sim::kNumChanges> change_costs(PolicyKind policy,
                                                                         const Scenario& scenario);

/// Weights, fp32 masters and both moments held by one GPU of the healthy job: 14 bytes a parameter.
[[nodiscard]] Bytes state_of_one_gpu(const Scenario& scenario);

/// Of all of them together, once: what a checkpoint holds.
[[nodiscard]] Bytes state_of_job(const Scenario& scenario);

/// In-place recovery by this very transition: the state that moves at the pace of the busiest GPU,
/// over the network and over NVLink. Zero where nothing changes.
[[nodiscard]] Seconds transition_time(const Transition& transition, const Scenario& scenario);

/// How often faults that roll `policy` back happen, given what happens per day to the job's
/// hardware and software. The interval follows from it by the scenario's rule and bounds.
struct FaultRates {
  double hardware_per_day = 0.0;
  double software_per_day = 0.0;

  /// Counts faults of this radius; those of the job are software.
  void add(sim::BlastRadius radius, double faults_per_day) {
    (radius == sim::BlastRadius::job ? software_per_day : hardware_per_day) += faults_per_day;
  }
  [[nodiscard]] double per_day() const { return hardware_per_day + software_per_day; }
};
/// Those of the scenario's failures.
[[nodiscard]] FaultRates fault_rates(const Scenario& scenario);

/// Of `policy` under these faults. A fault costs its detection, the mean over the scenario's
/// hardware failures, the pause, and half a step or, with a roll-back, half a checkpoint interval.
[[nodiscard]] sim::Interruptions interruptions(PolicyKind policy,
                                               const Scenario& scenario,
                                               const FaultRates& rates,
                                               Seconds step_time);

[[nodiscard]] sim::CheckpointSchedule checkpoint_schedule(PolicyKind policy,
                                                          const Scenario& scenario,
                                                          const FaultRates& rates);

}  // namespace runflat::planner
