#include "exec/training/trainer.hpp"

#include "core/error.hpp"
#include "exec/device/host_values.hpp"
#include "exec/device/out_of_memory.hpp"
#include "exec/training/moment_name.hpp"
#include "exec/training/stage_place.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>
#include <utility>

namespace runflat::exec {
namespace {

bool is_message(OpKind kind) {
  return kind == OpKind::send_activation || kind == OpKind::recv_activation ||
         kind == OpKind::send_gradient || kind == OpKind::recv_gradient;
}

}  // namespace

Trainer::Slot& Trainer::slot_of(const ScheduleOp& op) {
  std::vector<Slot>& slots = chunks_[static_cast<std::size_t>(op.vp_stage)].slots;
  const auto holds = [&](std::int32_t microbatch) {
    return std::find_if(slots.begin(), slots.end(), [microbatch](const Slot& slot) {
      return slot.microbatch == microbatch;
    });
  };
  auto slot = holds(op.microbatch);
  if (slot == slots.end()) {
    slot = holds(-1);
    require(slot != slots.end(), "more microbatches in flight than the schedule has");
    slot->microbatch = op.microbatch;
  }
  return *slot;
}

void Trainer::free_slot(const ScheduleOp& op) {
  slot_of(op).microbatch = -1;
}

void Trainer::run_forward(const ScheduleOp& op) {
  chunks_[static_cast<std::size_t>(op.vp_stage)].model->forward(
      microbatches_[static_cast<std::size_t>(op.microbatch)], slot_of(op).act, op.microbatch == 0);
}

void Trainer::run_backward(const ScheduleOp& op) {
  Chunk& chunk = chunks_[static_cast<std::size_t>(op.vp_stage)];
  const bool is_last = op.microbatch + 1 == schedule_.shape().num_microbatches;
  chunk.model->backward(microbatches_[static_cast<std::size_t>(op.microbatch)],
                        slot_of(op).act,
                        op.microbatch == 0,
                        [&](std::size_t first_param) {
                          if (is_last) {
                            chunk.sync->params_ready(first_param);
                          }
                        });
  if (chunk.model->has_embedding()) {
    free_slot(op);
  }
}

void Trainer::exchange(std::span<const ScheduleOp> group) {
  const std::int64_t row =
      plan_.training.micro_batch_size * plan_.model.hidden_size * kernels::size_of(config_.type);
  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (const ScheduleOp& op : group) {
    ChunkActivations& act = slot_of(op).act;
    const PpRank peer(op.peer);
    const bool is_send = op.kind == OpKind::send_activation || op.kind == OpKind::send_gradient;
    const bool is_gradient = op.kind == OpKind::send_gradient || op.kind == OpKind::recv_gradient;
    void* data = is_gradient ? act.grad.data()
                 : is_send   ? act.out.data()
                             : chunks_[static_cast<std::size_t>(op.vp_stage)].model->input(act);
    const auto pieces = (is_send ? pieces_to : pieces_from)(
        plan_.layout, me_, peer, plan_.model.seq_length, plan_.training.sequence_parallel);
    for (const StagePiece& piece : pieces) {
      void* part = static_cast<std::byte*>(data) + piece.first_position * row;
      if (is_send) {
        sends.push_back({piece.peer, part, piece.num_positions * row});
      } else {
        receives.push_back({piece.peer, part, piece.num_positions * row});
      }
    }
  }
  const Ticket ticket = groups_.mp->exchange(sends, receives);
  groups_.mp->join(ticket);
  for (const ScheduleOp& op : group) {
    recorder_.add_message(op, ticket, tp_.tokens().num_positions(me_.tp.value()) * row);
    if (op.kind == OpKind::send_gradient) {
      free_slot(op);
    }
  }
}

void Trainer::run(const ScheduleOp& op) {
  const Mark begin = recorder_.is_on() ? device_.mark() : 0;
  switch (op.kind) {
    case OpKind::forward:
      run_forward(op);
      break;
    case OpKind::backward:
      run_backward(op);
      break;
    case OpKind::optimizer:
    case OpKind::reshard_to_sync:
    case OpKind::reduce:
    case OpKind::reshard_to_compute:
    case OpKind::gather:
    case OpKind::send_activation:
    case OpKind::recv_activation:
    case OpKind::send_gradient:
    case OpKind::recv_gradient:
      return;
  }
  if (recorder_.is_on()) {
    recorder_.add_compute(op, begin, device_.mark());
  }
}

double Trainer::local_loss() {
  if (me_.tp.value() != 0 || !chunks_.back().model->has_head()) {
    return 0.0;
  }
  double sum = 0.0;
  for (const Microbatch& batch : microbatches_) {
    const std::vector<double> losses = read_values(device_,
                                                   batch.losses.data(),
                                                   tp_.tokens().tokens(),
                                                   kernels::accumulate_type(config_.type));
    sum = std::accumulate(losses.begin(), losses.end(), sum);
  }
  return sum;
}

double Trainer::local_tokens() const {
  return me_.tp.value() == 0 && chunks_.back().model->has_head() ? tokens_ : 0.0;
}

void Trainer::finish_gradients() {
  for (std::size_t vp_stage = chunks_.size(); vp_stage-- > 0;) {
    chunks_[vp_stage].sync->finish_reduction();
  }
  for (const Chunk& chunk : chunks_) {
    if (groups_.world != nullptr) {
      chunk.tied->sum(*groups_.world);
    }
    chunk.sync->copy_slices();
  }
}

void Trainer::at(StepMoment moment, std::int64_t index) {
  if (moment == StepMoment::end) {
    ranges_.end();
  } else {
    ranges_.next(name_at(moment, schedule_.ops(me_.pp), index));
  }
  if (watcher_) {
    watcher_(moment, index);
  }
}

void Trainer::run_schedule() {
  const std::span<const ScheduleOp> ops = schedule_.ops(me_.pp);
  for (std::size_t i = 0; i < ops.size() && groups_.status() == SyncStatus::done;) {
    at(StepMoment::op, static_cast<std::int64_t>(i));
    std::size_t end = i + 1;
    if (is_message(ops[i].kind)) {
      while (end < ops.size() && ops[end].joins_group) {
        ++end;
      }
      exchange(ops.subspan(i, end - i));
    } else {
      run(ops[i]);
    }
    i = end;
  }
}

void Trainer::decide(const StepWishes& wishes, StepResult& result) {
  at(StepMoment::decision);
  const auto sums =
      optimizer_->sum_up({.loss = local_loss(), .tokens = local_tokens(), .wishes = wishes});
  if (!sums) {
    return;
  }
  StepDecision decision = sums->decision;
  decision.step = progress_.steps + 1;
  result.sums = optimizer_->prepare(decision);
  result.wishes = sums->wishes;
  result.is_finite = std::isfinite(result.sums.grad_norm) && std::isfinite(result.sums.loss);
  if (result.is_finite) {
    decision_ = decision;
    phase_ = StepPhase::decided;
  }
}

/// Where parameters are distributed at once, each bucket travels while the next is updated.
void Trainer::update(const StepDecision& decision, bool distributes) {
  const double lr = config_.lr.at(progress_.consumed_samples);
  for (std::size_t vp_stage = 0; vp_stage < states_.size(); ++vp_stage) {
    at(StepMoment::update, static_cast<std::int64_t>(vp_stage));
    for (std::size_t bucket = states_[vp_stage]->buckets().size(); bucket-- > 0;) {
      optimizer_->update(vp_stage, bucket, lr, decision.step);
      if (distributes) {
        chunks_[vp_stage].sync->start_distribution(bucket);
      }
    }
  }
  ++progress_.steps;
  progress_.consumed_samples += sampler_.global_batch_size();
  phase_ = StepPhase::updated;
}

void Trainer::complete(const StepDecision& decision) {
  require(decision.step == progress_.steps + 1, "only the step after the last can be completed");
  decision_ = decision;
  static_cast<void>(optimizer_->prepare(decision));
  update(decision, false);
}

void Trainer::retire() {
  chunks_.clear();
  microbatches_.clear();
  for (const auto& state : states_) {
    state->keep_optimizer_state();
  }
}

void Trainer::finish_distribution() {
  for (std::size_t vp_stage = 0; vp_stage < chunks_.size(); ++vp_stage) {
    at(StepMoment::distribute, static_cast<std::int64_t>(vp_stage));
    chunks_[vp_stage].sync->finish_distribution();
    for (const SyncOperation& operation : chunks_[vp_stage].sync->take_operations()) {
      recorder_.add_sync(static_cast<std::int32_t>(vp_stage), operation);
    }
  }
  device_.synchronize();
  if (groups_.status() == SyncStatus::done) {
    phase_ = StepPhase::distributed;
  }
}

SyncStatus Trainer::distribute_params() {
  for (std::size_t vp_stage = 0; vp_stage < states_.size(); ++vp_stage) {
    states_[vp_stage]->cast_masters();
    for (std::size_t bucket = states_[vp_stage]->buckets().size(); bucket-- > 0;) {
      chunks_[vp_stage].sync->start_distribution(bucket);
    }
  }
  finish_distribution();
  const SyncStatus status = groups_.status();
  if (status != SyncStatus::done) {
    groups_.abort();
  }
  return status;
}

StepResult Trainer::step(const SampleSource& data, const StepWishes& wishes) {
  const Clock::time_point begin = Clock::now();
  recorder_.begin_step();
  load(data, progress_.consumed_samples);
  for (const auto& state : states_) {
    state->zero_grads();
  }
  phase_ = StepPhase::before_decision;
  StepResult result;
  result.begin = begin;
  result.lr = config_.lr.at(progress_.consumed_samples);
  run_schedule();
  if (groups_.status() == SyncStatus::done) {
    at(StepMoment::reduction);
    finish_gradients();
  }
  if (groups_.status() == SyncStatus::done) {
    decide(wishes, result);
  }
  if (phase_ == StepPhase::decided) {
    update(decision_, true);
    finish_distribution();
  }
  result.status = groups_.status();
  result.lost = groups_.lost();
  if (result.status != SyncStatus::done) {
    groups_.abort();
  } else {
    at(StepMoment::end);
  }
  result.time = Clock::now() - begin;
  return result;
}

}  // namespace runflat::exec
