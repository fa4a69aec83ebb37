#include "exec/training/trainer.hpp"

#include <cmath>
#include <vector>

namespace runflat::exec {

void Trainer::run_evaluation(const ScheduleOp& op) {
  ModelChunk& model = *chunks_[static_cast<std::size_t>(op.vp_stage)].model;
  model.evaluate(microbatches_[static_cast<std::size_t>(op.microbatch)], slot_of(op).act);
  if (model.has_head()) {
    free_slot(op);
  }
}

/// The step's schedule without what serves gradients: fewer constraints in the same order, so that
/// messages match and nothing waits for ever.
StepResult Trainer::evaluate(const SampleSource& data, std::int64_t first_sample) {
  load(data, first_sample);
  std::vector<ScheduleOp> group;
  const auto exchange_group = [&] {
    if (!group.empty()) {
      exchange(group);
    }
    for (const ScheduleOp& op : group) {
      if (op.kind == OpKind::send_activation) {
        free_slot(op);
      }
    }
    group.clear();
  };
  for (const ScheduleOp& op : schedule_.ops(me_.pp)) {
    if (groups_.status() != SyncStatus::done) {
      break;
    }
    if (!op.joins_group) {
      exchange_group();
    }
    if (op.kind == OpKind::send_activation || op.kind == OpKind::recv_activation) {
      group.push_back(op);
    } else if (op.kind == OpKind::forward) {
      run_evaluation(op);
    }
  }
  exchange_group();
  StepResult result;
  result.lr = config_.lr.at(progress_.consumed_samples);
  if (const auto sums = optimizer_->sum_up({.loss = local_loss(), .tokens = local_tokens()})) {
    result.sums = optimizer_->prepare(sums->decision);
  }
  result.status = groups_.status();
  result.is_finite = std::isfinite(result.sums.loss);
  return result;
}

}  // namespace runflat::exec
