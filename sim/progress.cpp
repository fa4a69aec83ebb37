#include "sim/progress.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cmath>

namespace runflat::sim {

Progress::Progress(const CheckpointSchedule& checkpoint, SimTime step_time)
    : interval_(std::min(checkpoint.interval, SimTime{std::int64_t{1} << 60})),
      cost_(checkpoint.cost),
      step_time_(step_time) {
  require(interval_.count() > 0 && cost_.count() >= 0, "a checkpoint interval must be positive");
  require(step_time_.count() > 0, "a step takes time");
}

Progress::AtRisk Progress::sum(const AtRisk& a, const AtRisk& b) {
  return {
      .work = a.work + b.work, .useful = a.useful + b.useful, .degraded = a.degraded + b.degraded};
}

Progress::AtRisk Progress::least(const AtRisk& a, const AtRisk& b) {
  return {.work = std::min(a.work, b.work),
          .useful = std::min(a.useful, b.useful),
          .degraded = std::min(a.degraded, b.degraded)};
}

Progress::AtRisk Progress::spent(SimTime training,
                                 double throughput,
                                 std::int64_t num_active,
                                 std::int64_t num_job_gpus) const {
  const std::int64_t gpu_ms = training.count() * num_active;
  const double full = throughput * static_cast<double>(num_job_gpus * training.count());
  const std::int64_t useful = std::min(gpu_ms, static_cast<std::int64_t>(std::llround(full)));
  return {.work = throughput * static_cast<double>(training.count()),
          .useful = useful,
          .degraded = gpu_ms - useful};
}

void Progress::run(SimTime span,
                   double throughput,
                   std::int64_t num_active,
                   std::int64_t num_job_gpus,
                   GpuTimeLedger& ledger) {
  const SimTime cycle = interval_ + cost_;
  const SimTime end = in_cycle_ + span;
  const std::int64_t num_checkpoints = end / cycle;
  const SimTime next_in_cycle = end % cycle;
  const SimTime trained_before = std::min(in_cycle_, interval_);
  const SimTime trained_after = std::min(next_in_cycle, interval_);
  const SimTime training = num_checkpoints * interval_ + trained_after - trained_before;
  const AtRisk now = spent(training, throughput, num_active, num_job_gpus);
  ledger.add(Cause::checkpoint, num_active, span - training);
  ledger.add_gpu_ms(Cause::useful, now.useful);
  ledger.add_gpu_ms(Cause::degraded, now.degraded);
  kept_ += now.work;
  const bool ends_step = in_step_ + training >= step_time_;
  in_cycle_ = next_in_cycle;
  in_step_ = (in_step_ + training) % step_time_;
  const auto since = [&](SimTime last) {
    return least(spent(last, throughput, num_active, num_job_gpus), now);
  };
  unsaved_ = num_checkpoints > 0 ? since(trained_after) : sum(unsaved_, now);
  in_flight_ = ends_step ? since(in_step_) : sum(in_flight_, now);
}

void Progress::lose(const AtRisk& amount, GpuTimeLedger& ledger) {
  kept_ -= amount.work;
  ledger.move_gpu_ms(Cause::useful, Cause::lost_work, amount.useful);
  ledger.move_gpu_ms(Cause::degraded, Cause::lost_work, amount.degraded);
}

void Progress::roll_back(GpuTimeLedger& ledger) {
  lose(unsaved_, ledger);
  unsaved_ = {};
  in_flight_ = {};
  in_cycle_ = SimTime::zero();
  in_step_ = SimTime::zero();
}

void Progress::drop_step(GpuTimeLedger& ledger) {
  const AtRisk step = least(in_flight_, unsaved_);
  lose(step, ledger);
  unsaved_.work -= step.work;
  unsaved_.useful -= step.useful;
  unsaved_.degraded -= step.degraded;
  in_flight_ = {};
  in_step_ = SimTime::zero();
}

}  // namespace runflat::sim
