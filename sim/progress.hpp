#pragma once

#include "sim/job_life.hpp"

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
  /// Loses everything since the last checkpoint, which becomes the present state.
  void roll_back(GpuTimeLedger& ledger);
  /// Loses the step in flight.
  void drop_step(GpuTimeLedger& ledger);

  /// Kept work in milliseconds of the healthy job.
  [[nodiscard]] double kept_work() const { return kept_; }

 private:
  /// GPU time and work that can still be lost.
  struct AtRisk {
    double work = 0.0;
    std::int64_t useful = 0;
    std::int64_t degraded = 0;
  };

  [[nodiscard]] static AtRisk sum(const AtRisk& a, const AtRisk& b);
  [[nodiscard]] static AtRisk least(const AtRisk& a, const AtRisk& b);
  [[nodiscard]] AtRisk spent(SimTime training,
                             double throughput,
                             std::int64_t num_active,
                             std::int64_t num_job_gpus) const;
  void lose(const AtRisk& amount, GpuTimeLedger& ledger);

  SimTime interval_;
  SimTime cost_;
  SimTime step_time_;
  SimTime in_cycle_{};  // since the end of the last checkpoint
  SimTime in_step_{};
  double kept_ = 0.0;
  AtRisk unsaved_;
  AtRisk in_flight_;  // the part of a step that is not finished
};

}  // namespace runflat::sim
