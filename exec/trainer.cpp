#include "exec/trainer.hpp"

#include "core/error.hpp"
#include "exec/host_values.hpp"
#include "exec/out_of_memory.hpp"
#include "exec/stage_place.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>
#include <utility>

namespace runflat::exec {
namespace {

Rank rank_of_process(const ParallelLayout& layout, std::int64_t process) {
  const std::optional<Rank> rank = layout.rank_of(GpuId(process));
  require(rank.has_value(), fmt::format("process {} plays no rank in the plan", process));
  return *rank;
}

void check_supported(const Plan& plan) {
  const auto refuse = [](const char* what) {
    throw InfeasibleError(fmt::format("{} cannot be trained yet", what));
  };
  if (plan.model.num_experts > 0) {
    refuse("a model with experts");
  }
  if (plan.layout.sizes().cp > 1) {
    refuse("context parallelism");
  }
  if (plan.training.zero_stage > 1) {
    refuse("zero_stage 2 or 3");
  }
}

std::vector<BatchShare> shares_of(const Plan& plan) {
  std::vector<BatchShare> shares;
  for (const ReplicaShare& replica : plan.replicas) {
    shares.push_back({.num_microbatches = replica.num_microbatches,
                      .micro_batch_size = plan.training.micro_batch_size});
  }
  return shares;
}

bool reshards(const ParallelLayout& layout, const Coordinate& me) {
  return layout.tp_size(me.cell()) > layout.sync_degree(me.pp);
}

StepSchedule schedule_of(const Plan& plan, const Coordinate& me, const TrainerConfig& config) {
  const ParallelSizes& sizes = plan.layout.sizes();
  const std::int64_t num_microbatches = plan.replicas[me.dp.index()].num_microbatches;
  return make_step_schedule({.num_stages = static_cast<int>(sizes.pp),
                             .num_vp_stages = static_cast<int>(sizes.vpp),
                             .num_microbatches = static_cast<int>(num_microbatches)},
                            {.num_buckets = static_cast<int>(config.num_buckets),
                             .reshard = reshards(plan.layout, me),
                             .distributed_optimizer = plan.training.zero_stage > 0});
}

TokenShape tokens_of(const Plan& plan, const Coordinate& me) {
  return make_token_shape(plan.model.seq_length,
                          plan.training.micro_batch_size,
                          plan.layout.tp_size(me.cell()),
                          plan.training.sequence_parallel);
}

LayerShape layer_shape_of(const Plan& plan, const Coordinate& me, const TrainerConfig& config) {
  LayerShape shape = make_layer_shape(plan.model,
                                      plan.layout.tp_size(me.cell()),
                                      plan.layout.sync_degree(me.pp),
                                      me.tp,
                                      config.type);
  shape.epsilon = config.norm_epsilon;
  shape.deterministic = config.deterministic;
  return shape;
}

bool is_message(OpKind kind) {
  return kind == OpKind::send_activation || kind == OpKind::recv_activation ||
         kind == OpKind::send_gradient || kind == OpKind::recv_gradient;
}

}  // namespace

Trainer::Trainer(Device& device,
                 Transport& transport,
                 const Plan& plan,
                 const TrainerConfig& config,
                 std::int64_t generation,
                 FirstWeights weights)
    : device_(device),
      plan_((check_supported(plan), plan)),
      config_(config),
      rank_(rank_of_process(plan.layout, transport.process())),
      me_(plan.layout.coordinate_of(rank_)),
      groups_(make_job_groups(plan.layout, rank_, transport, generation, config.timeout)),
      sampler_(plan.global_batch_size(), shares_of(plan)),
      schedule_(schedule_of(plan, me_, config)),
      tp_(groups_.tp.get(), tokens_of(plan, me_), config.type),
      layers_(allocating("buffers of a layer", kRemedyForActivations, [&] {
        return LayerRunner(device, tp_, layer_shape_of(plan, me_, config), plan.training.recompute);
      })) {
  if (!plan.model.learned_positions) {
    allocating("buffers of a layer", kRemedyForActivations, [&] {
      layers_.set_rotary(config.rotary_base);
    });
  }
  make_chunks();
  std::vector<StageState*> states;
  for (const auto& state : states_) {
    if (weights == FirstWeights::drawn) {
      state->initialise(config.seed);
    }
    states.push_back(state.get());
  }
  optimizer_ = std::make_unique<Optimizer>(
      device, std::move(states), config.optimizer, groups_.world.get(), config.timeout);
}

Trainer::~Trainer() {
  groups_ = {};  // ends what is under way before its memory goes
}

void Trainer::make_chunks() {
  for (std::int64_t vp_stage = 0; vp_stage < plan_.layout.sizes().vpp; ++vp_stage) {
    allocating("weights, gradients and optimizer states", kRemedyForState, [&] {
      states_.push_back(
          std::make_unique<StageState>(device_, stage_place(plan_, config_, rank_, vp_stage)));
    });
    StageState& state = *states_.back();
    Chunk chunk;
    allocating("buffers of a virtual stage", kRemedyForActivations, [&] {
      chunk.model = std::make_unique<ModelChunk>(device_, tp_, layers_, state);
      chunk.sync = std::make_unique<GradSync>(device_, state, groups_.tp.get(), groups_.dp.get());
      chunk.tied = std::make_unique<TiedEmbedding>(device_, plan_.layout, rank_, state);
    });
    chunk.slots.resize(num_slots(static_cast<std::int16_t>(vp_stage)));
    allocating(fmt::format("activations of {} microbatches under way", chunk.slots.size()),
               kRemedyForActivations,
               [&] {
                 for (Slot& slot : chunk.slots) {
                   slot.act = chunk.model->make_activations();
                 }
               });
    chunks_.push_back(std::move(chunk));
  }
  const std::int64_t tokens = tp_.tokens().tokens();
  const std::int64_t num = sampler_.num_microbatches(me_.dp);
  const auto make = [&](DataType type) {
    return device_.allocate(tokens * kernels::size_of(type));
  };
  allocating("tokens of all microbatches", kRemedyForActivations, [&] {
    for (std::int64_t i = 0; i < num; ++i) {
      microbatches_.push_back({.ids = make(DataType::int32),
                               .targets = make(DataType::int32),
                               .loss_mask = make(DataType::fp32),
                               .losses = make(kernels::accumulate_type(config_.type))});
    }
  });
}

/// The most microbatches that are between their arrival on a virtual stage and the end of their
/// backward pass there.
std::size_t Trainer::num_slots(std::int16_t vp_stage) const {
  const bool is_first = me_.pp.value() == 0 && vp_stage == 0;
  std::vector<std::int32_t> held;
  std::vector<std::int32_t> over;  // at the end of the group of messages
  std::size_t most = 0;
  for (const ScheduleOp& op : schedule_.ops(me_.pp)) {
    if (!op.joins_group) {
      for (const std::int32_t microbatch : std::exchange(over, {})) {
        std::erase(held, microbatch);
      }
    }
    if (op.vp_stage != vp_stage || op.microbatch < 0) {
      continue;
    }
    if (std::find(held.begin(), held.end(), op.microbatch) == held.end()) {
      held.push_back(op.microbatch);
    }
    most = std::max(most, held.size());
    if (op.kind == OpKind::send_gradient || (is_first && op.kind == OpKind::backward)) {
      over.push_back(op.microbatch);
    }
  }
  return most;
}

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
  groups_ = {};
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
