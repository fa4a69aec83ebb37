#include "sim/progress.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cmath>

namespace runflat::sim {
namespace {

constexpr SimTime kLongest{std::int64_t{1} << 60};

/// A checkpoint is in storage before the next one is taken.
CheckpointSchedule checked(CheckpointSchedule checkpoint) {
  require(checkpoint.interval.count() > 0 && checkpoint.cost.count() >= 0,
          "a checkpoint interval must be positive");
  require(checkpoint.background.count() >= 0 && checkpoint.snapshots_per_stored >= 1,
          "a checkpoint takes time to store, and every so many are stored");
  checkpoint.interval = std::min(checkpoint.interval, kLongest / checkpoint.snapshots_per_stored);
  const SimTime shortest = checkpoint.background / checkpoint.snapshots_per_stored;
  checkpoint.interval = std::max(checkpoint.interval, shortest + SimTime{1} - checkpoint.cost);
  return checkpoint;
}

}  // namespace

Progress::Progress(const CheckpointSchedule& checkpoint, SimTime step_time)
    : checkpoint_(checked(checkpoint)), step_time_(step_time) {
  require(step_time_.count() > 0, "a step takes time");
}

Progress::Amount Progress::sum(const Amount& a, const Amount& b) {
  return {
      .work = a.work + b.work, .useful = a.useful + b.useful, .degraded = a.degraded + b.degraded};
}

Progress::Amount Progress::difference(const Amount& a, const Amount& b) {
  return {
      .work = a.work - b.work, .useful = a.useful - b.useful, .degraded = a.degraded - b.degraded};
}

Progress::Amount Progress::least(const Amount& a, const Amount& b) {
  return {.work = std::min(a.work, b.work),
          .useful = std::min(a.useful, b.useful),
          .degraded = std::min(a.degraded, b.degraded)};
}

Progress::Amount Progress::spent(SimTime training,
                                 double throughput,
                                 std::int64_t num_active,
                                 std::int64_t num_job_gpus) {
  const std::int64_t gpu_ms = training.count() * num_active;
  const double full = throughput * static_cast<double>(num_job_gpus * training.count());
  const std::int64_t useful = std::min(gpu_ms, static_cast<std::int64_t>(std::llround(full)));
  return {.work = throughput * static_cast<double>(training.count()),
          .useful = useful,
          .degraded = gpu_ms - useful};
}

SimTime Progress::training_in(SimTime span) const {
  const SimTime cycle = checkpoint_.interval + checkpoint_.cost;
  return span / cycle * checkpoint_.interval + std::min(span % cycle, checkpoint_.interval);
}

void Progress::run(SimTime span,
                   double throughput,
                   std::int64_t num_active,
                   std::int64_t num_job_gpus,
                   GpuTimeLedger& ledger) {
  const SimTime cycle = checkpoint_.interval + checkpoint_.cost;
  const SimTime period = cycle * checkpoint_.snapshots_per_stored;
  const SimTime end = in_period_ + span;
  const SimTime training = training_in(end) - training_in(in_period_);
  const auto amount = [&](SimTime trained) {
    return spent(trained, throughput, num_active, num_job_gpus);
  };
  const Amount now = amount(training);
  ledger.add(Cause::checkpoint, num_active, span - training);
  ledger.add_gpu_ms(Cause::useful, now.useful);
  ledger.add_gpu_ms(Cause::degraded, now.degraded);

  const std::int64_t num_stored = end / period;
  const auto since = [&](SimTime last) { return least(amount(last), now); };
  const bool ends_step = in_step_ + training >= step_time_;
  const bool ends_cycle = end / cycle > in_period_ / cycle;
  const Amount stored_before = since_stored_;
  in_period_ = end % period;
  in_step_ = (in_step_ + training) % step_time_;
  in_flight_ = ends_step ? since(in_step_) : sum(in_flight_, now);
  since_snapshot_ = ends_cycle ? since(training_in(in_period_ % cycle)) : sum(since_snapshot_, now);
  if (num_stored > 0) {
    since_stored_ = since(training_in(in_period_));
    const Amount rest = difference(now, since_stored_);
    in_transit_ =
        num_stored == 1 ? sum(stored_before, rest) : least(amount(training_in(period)), rest);
  } else {
    since_stored_ = sum(stored_before, now);
  }
  if (in_period_ >= checkpoint_.background) {
    in_transit_ = {};
  }
  kept_ = sum(kept_, now);
}

void Progress::lose(const Amount& amount, GpuTimeLedger& ledger) {
  kept_ = difference(kept_, amount);
  ledger.move_gpu_ms(Cause::useful, Cause::lost_work, amount.useful);
  ledger.move_gpu_ms(Cause::degraded, Cause::lost_work, amount.degraded);
  for (Silent& silent : silent_) {
    silent.kept = least(silent.kept, kept_);
  }
}

void Progress::restart_cycle() {
  in_flight_ = {};
  in_step_ = SimTime::zero();
  since_snapshot_ = {};
}

void Progress::roll_back(GpuTimeLedger& ledger) {
  lose(sum(since_stored_, in_transit_), ledger);
  restart_cycle();
  since_stored_ = {};
  in_transit_ = {};
  in_period_ = SimTime::zero();
}

void Progress::roll_back_to_snapshot(GpuTimeLedger& ledger) {
  lose(since_snapshot_, ledger);
  since_stored_ = difference(since_stored_, since_snapshot_);
  restart_cycle();
  in_period_ -= in_period_ % (checkpoint_.interval + checkpoint_.cost);
}

void Progress::begin_corruption(SimTime begin) {
  silent_.push_back({.begin = begin, .kept = difference(kept_, since_stored_)});
}

void Progress::undo_corruption(SimTime begin, GpuTimeLedger& ledger) {
  const Amount good = find_silent(begin)->kept;
  roll_back(ledger);
  const Amount worthless = difference(kept_, good);
  lose({.work = std::max(0.0, worthless.work),
        .useful = std::max<std::int64_t>(0, worthless.useful),
        .degraded = std::max<std::int64_t>(0, worthless.degraded)},
       ledger);
}

void Progress::end_corruption(SimTime begin) {
  silent_.erase(find_silent(begin));
}

std::vector<Progress::Silent>::iterator Progress::find_silent(SimTime begin) {
  const auto found = std::find_if(
      silent_.begin(), silent_.end(), [&](const Silent& silent) { return silent.begin == begin; });
  require(found != silent_.end(), "a corruption is found after it began");
  return found;
}

void Progress::drop_step(GpuTimeLedger& ledger) {
  const Amount step = least(in_flight_, since_snapshot_);
  lose(step, ledger);
  since_snapshot_ = difference(since_snapshot_, step);
  since_stored_ = difference(since_stored_, step);
  in_flight_ = {};
  in_step_ = SimTime::zero();
}

void Progress::set_interval(SimTime interval) {
  require(in_period_ == SimTime::zero(), "an interval starts with a checkpoint");
  checkpoint_.interval = interval;
  checkpoint_ = checked(checkpoint_);
}

}  // namespace runflat::sim
