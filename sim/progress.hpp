#pragma once

#include "sim/job_life.hpp"

#include <vector>

namespace runflat::sim {

/// The training clock of one job: work done, kept, and at risk since the last checkpoint. Charges
/// what it does to a ledger.
class Progress {
 public:
  Progress(const CheckpointSchedule& checkpoint, SimTime step_time);

  /// Trains for `span`, checkpoints included, on `num_active` GPUs of a job of `num_job_gpus`.
  void run(SimTime span,
           double throughput,
           std::int64_t num_active,
           std::int64_t num_job_gpus,
           GpuTimeLedger& ledger);
  /// Loses everything since the last checkpoint in storage, which becomes the present state.
  void roll_back(GpuTimeLedger& ledger);
  /// Loses everything since the last snapshot, in memory or in storage.
  void roll_back_to_snapshot(GpuTimeLedger& ledger);
  /// Loses the step in flight.
  void drop_step(GpuTimeLedger& ledger);

  /// From now on work and checkpoints are worthless, though nobody knows. `begin` is its name.
  void begin_corruption(SimTime begin);
  /// Loses everything since the last checkpoint in storage from before the corruption; to the start
  /// of the job where there is none. Throws InvalidArgument for one that is not under way.
  void undo_corruption(SimTime begin, GpuTimeLedger& ledger);
  /// Forgets one of that name.
  void end_corruption(SimTime begin);
  /// Another interval, from the present state on. Only right after a roll-back.
  void set_interval(SimTime interval);

  /// Kept work in milliseconds of the healthy job.
  [[nodiscard]] double kept_work() const { return kept_.work; }

 private:
  /// GPU time and work.
  struct Amount {
    double work = 0.0;
    std::int64_t useful = 0;
    std::int64_t degraded = 0;
  };
  /// A corruption under way, and what will be left of the present state when it is found.
  struct Silent {
    SimTime begin{};
    Amount kept;
  };

  [[nodiscard]] static Amount sum(const Amount& a, const Amount& b);
  [[nodiscard]] static Amount difference(const Amount& a, const Amount& b);
  [[nodiscard]] static Amount least(const Amount& a, const Amount& b);
  [[nodiscard]] static Amount spent(SimTime training,
                                    double throughput,
                                    std::int64_t num_active,
                                    std::int64_t num_job_gpus);
  /// Training in the first `span` of a period that starts with a checkpoint.
  [[nodiscard]] SimTime training_in(SimTime span) const;
  void lose(const Amount& amount, GpuTimeLedger& ledger);
  void restart_cycle();
  [[nodiscard]] std::vector<Silent>::iterator find_silent(SimTime begin);

  CheckpointSchedule checkpoint_;
  SimTime step_time_;
  SimTime in_period_{};  // since the last snapshot that goes on to storage
  SimTime in_step_{};
  Amount kept_;
  Amount since_snapshot_;
  Amount since_stored_;  // since the last snapshot that goes on to storage
  Amount in_transit_;    // between that one and the one before, while it is on its way
  Amount in_flight_;     // the part of a step that is not finished
  std::vector<Silent> silent_;
};

}  // namespace runflat::sim
