#pragma once

#include "sim/fault_timeline.hpp"
#include "sim/fault_window.hpp"
#include "sim/interruptions.hpp"
#include "sim/ledger.hpp"
#include "sim/operation.hpp"
#include "sim/site_pool.hpp"
#include "sim/stragglers.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace runflat::sim {

/// What makes a job stop and come back in another state.
enum class Change : std::uint8_t {
  hardware_fault,  ///< an active GPU was lost; the job goes on under another operation
  software_fault,  ///< the processes died, the hardware did not
  resume,          ///< the job was waiting and can run again
  rejoin,          ///< repaired hardware enters at a step boundary
};
inline constexpr std::size_t kNumChanges = 4;

/// The price of one change. `pause` comes after detection. A change that rolls back loses all work
/// since the last checkpoint, one that does not only the step in flight (a rejoin loses nothing).
struct ChangeCost {
  SimTime pause{};
  bool rolls_back = false;
  SimTime pause_from_memory{};  ///< where a snapshot in memory survived
};

/// Checkpoints: train for `interval`, then stop for `cost` while a snapshot is taken. Every so many
/// snapshots one goes on to storage, which takes `background` of training time. Until it is there a
/// roll-back goes to the one before. An interval too short to store in time is lengthened.
/// Synchronous: no background. Asynchronous: background. In memory: snapshots themselves survive.
struct CheckpointSchedule {
  SimTime interval = kNever;
  SimTime cost{};
  SimTime background{};
  std::int64_t snapshots_per_stored = 1;
  std::array<bool, kNumBlastRadii> survives{};  ///< snapshots in memory, by what a fault takes down
  /// Not zero: the interval follows Young's rule for the mean time M between roll-backs as it
  /// shows, starting from this one: each gap g moves M by (g - M) / 8. Never longer than
  /// `interval`.
  SimTime first_mean_gap{};

  [[nodiscard]] bool survives_in_memory(BlastRadius radius) const {
    return survives[static_cast<std::size_t>(radius)];
  }
};

/// One job under one recovery policy.
struct JobSpec {
  SiteShape sites{};
  SimTime step_time{};  ///< of the healthy job
  CheckpointSchedule checkpoint{};
  std::array<ChangeCost, kNumChanges> change_costs{};                ///< of operations of variant 0
  std::vector<std::array<ChangeCost, kNumChanges>> variant_costs{};  ///< if any: of every variant
  SimTime detect_crash{};
  SimTime detect_hang{};
  SimTime detect_timeout{};
  /// A rejoin must be expected to win back its pause before the next one of these or the end of the
  /// trial. None: always.
  Interruptions interruptions{};
  StepShares step_shares{};  ///< what stragglers stretch
  Replanner replan{};
  /// Spare sites that the full batch would need on a census of the job's own sites.
  std::function<std::int64_t(const SiteCensus&)> spares_needed{};
  std::int64_t num_buckets = 100;  ///< of the progress over time

  [[nodiscard]] const ChangeCost& cost_of(Change change, std::int32_t variant = 0) const {
    const auto& costs =
        variant_costs.empty() ? change_costs : variant_costs[static_cast<std::size_t>(variant)];
    return costs[static_cast<std::size_t>(change)];
  }
};

/// What became of the job. `goodput` is the kept work over the work of the healthy, undisturbed job
/// in the same time; `availability` is the share of time in which the job was up (training or
/// writing a checkpoint), so that goodput never exceeds it.
struct JobOutcome {
  GpuTimeLedger ledger;
  double goodput = 0.0;
  double availability = 0.0;
  std::int64_t num_interruptions = 0;
  std::int64_t num_rejoins = 0;
  std::vector<double> goodput_by_bucket;  ///< num_buckets equal parts of the duration; work that is
                                          ///< rolled back counts against the bucket of that moment
  std::vector<SimTime> time_by_spares_needed;  ///< index: sites needed
};

/// A job that lives through one trial. Faults outside `job.sites` are ignored, so that policies
/// that own different numbers of spares share the trial's faults. Work of a reduced operation
/// counts by its throughput. Planned work costs no detection and no work, but a checkpoint before a
/// roll-back. Corruption that was silent loses all work since the last good checkpoint, under every
/// policy. The slowest active component sets the pace. Memory depends on the job and on what is
/// down at a moment.
class JobLife {
 public:
  /// `job` must outlive this; `shape` is of the faults that come. Throws InvalidArgument unless it
  /// contains the job's cluster.
  JobLife(const JobSpec& job, const ClusterShape& shape, SimTime duration);
  ~JobLife();
  JobLife(JobLife&&) noexcept;
  JobLife& operator=(JobLife&&) noexcept;
  JobLife(const JobLife&) = delete;
  JobLife& operator=(const JobLife&) = delete;

  void live_through(const FaultWindow& window);
  /// After the last window of the trial.
  [[nodiscard]] JobOutcome finish() &&;

 private:
  class Life;
  std::unique_ptr<Life> life_;
};

/// The whole trial at once: a function of its arguments only.
[[nodiscard]] JobOutcome simulate_job(const JobSpec& job, const FaultTimeline& faults);

}  // namespace runflat::sim
