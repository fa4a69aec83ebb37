#include "sim/step_simulator.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <string>

namespace runflat::sim {
namespace {

constexpr double kUnknown = -1.0;

bool is_message(OpKind kind) {
  return kind == OpKind::send_activation || kind == OpKind::recv_activation ||
         kind == OpKind::send_gradient || kind == OpKind::recv_gradient;
}

bool is_send(OpKind kind) {
  return kind == OpKind::send_activation || kind == OpKind::send_gradient;
}

/// 0: activations, 1: gradients.
std::size_t direction(OpKind kind) {
  return kind == OpKind::send_activation || kind == OpKind::recv_activation ? 0 : 1;
}

/// Layers of a virtual stage. What the first stage has less than a middle one is missing from its
/// first chunks, beside the embedding, and of the last stage from its last, beside the head.
double chunk_layers(const RankShare& share,
                    std::size_t stage,
                    std::size_t num_stages,
                    std::size_t chunk,
                    std::size_t num_chunks) {
  const auto chunks = static_cast<double>(num_chunks);
  const double full = share.layers / chunks;
  const auto left = [full](double missing, std::size_t chunks_before) {
    return full - std::clamp(missing - full * static_cast<double>(chunks_before), 0.0, full);
  };
  if (num_stages == 1) {
    return full;
  }
  if (stage == 0) {
    return left(share.layers - share.first_layers, chunk);
  }
  if (stage + 1 == num_stages) {
    return left(share.layers - share.last_layers, num_chunks - 1 - chunk);
  }
  return full;
}

bool is_before_optimizer(OpKind kind) {
  return kind == OpKind::reshard_to_sync || kind == OpKind::reduce ||
         kind == OpKind::reshard_to_compute;
}

}  // namespace

const StepRun& StepSimulator::run(std::span<const ReplicaRun> replicas, Timeline* timeline) {
  timeline_ = timeline;
  prepare(replicas);
  while (!runnable_.empty()) {
    const auto worker = static_cast<std::size_t>(runnable_.back());
    runnable_.pop_back();
    advance(worker);
  }
  result_.step_time = {};
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    require(workers_[i].next == workers_[i].ops.size(), "the step's schedules deadlock");
    result_.stages[i].end = Seconds(workers_[i].now);
    result_.step_time = std::max(result_.step_time, result_.stages[i].end);
  }
  return result_;
}

void StepSimulator::prepare(std::span<const ReplicaRun> replicas) {
  require(!replicas.empty(), "a step needs at least one replica");
  num_stages_ = static_cast<std::size_t>(replicas[0].schedule->shape().num_stages);
  num_vp_stages_ = static_cast<std::size_t>(replicas[0].schedule->shape().num_vp_stages);
  max_messages_ = 0;
  for (const ReplicaRun& replica : replicas) {
    const PipelineShape& shape = replica.schedule->shape();
    require(static_cast<std::size_t>(shape.num_stages) == num_stages_ &&
                static_cast<std::size_t>(shape.num_vp_stages) == num_vp_stages_,
            "all replicas of a step have the same stages");
    max_messages_ =
        std::max(max_messages_, num_vp_stages_ * static_cast<std::size_t>(shape.num_microbatches));
  }
  const std::size_t num_workers = replicas.size() * num_stages_;
  durations_.resize(replicas.size());
  workers_.assign(num_workers, {});
  result_.stages.assign(num_workers, {});
  channels_.assign(2 * num_workers, {});
  sent_at_.assign(2 * num_workers * max_messages_, kUnknown);
  received_at_.assign(2 * num_workers * max_messages_, kUnknown);
  input_at_.resize(2 * num_workers * max_messages_);
  meetings_.clear();
  runnable_.clear();
  for (std::size_t r = 0; r < replicas.size(); ++r) {
    fill(replicas[r], durations_[r]);
    for (std::size_t s = 0; s < num_stages_; ++s) {
      Worker& worker = workers_[r * num_stages_ + s];
      worker.ops = replicas[r].schedule->ops(PpRank(static_cast<std::int64_t>(s)));
      worker.replica = static_cast<std::int32_t>(r);
      worker.stage = static_cast<std::int32_t>(s);
      runnable_.push_back(static_cast<std::int32_t>(r * num_stages_ + s));
    }
  }
}

void StepSimulator::fill(const ReplicaRun& replica, Durations& durations) {
  const PipelineShape& shape = replica.schedule->shape();
  const StepTerms& terms = *replica.terms;
  const auto stages = static_cast<std::size_t>(shape.num_stages);
  const auto chunks = static_cast<std::size_t>(shape.num_vp_stages);
  const double slow = 1.0 + terms.straggler;
  durations.forward.resize(stages * chunks);
  durations.backward.resize(stages * chunks);
  require(replica.slowdown.empty() || replica.slowdown.size() == stages,
          "a slowdown for every stage");
  const double zero3 = 0.5 * terms.zero3_gather.count() / static_cast<double>(chunks);
  for (std::size_t s = 0; s < stages; ++s) {
    for (std::size_t v = 0; v < chunks; ++v) {
      const double share = chunk_layers(terms.share, s, stages, v, chunks);
      double forward = share * terms.layer.forward.total().count();
      double backward = share * terms.layer.backward.total().count();
      if (s == 0 && v == 0) {
        forward += terms.embedding.forward.total().count();
        backward += terms.embedding.backward.total().count();
      }
      if (s + 1 == stages && v + 1 == chunks) {
        forward += terms.head.forward.total().count();
        backward += terms.head.backward.total().count();
      }
      const double drag = replica.slowdown.empty() ? slow : slow * replica.slowdown[s];
      durations.forward[s * chunks + v] = forward * drag + zero3;
      durations.backward[s * chunks + v] = backward * drag + zero3;
    }
  }
  durations.blocks = terms.send > Seconds{};
  durations.send = (durations.blocks ? terms.send : terms.full_send).count() * slow;
  durations.optimizer = terms.optimizer.count();
  const SyncCost visible = terms.visible_sync();
  const auto first_ops = replica.schedule->ops(PpRank(0));
  const auto num_reductions = std::count_if(
      first_ops.begin(), first_ops.end(), [](ScheduleOp op) { return op.kind == OpKind::reduce; });
  const double per_bucket = 1.0 / static_cast<double>(std::max<std::ptrdiff_t>(1, num_reductions));
  durations.reduce = visible.reduce.count() * per_bucket;
  durations.gather = visible.gather.count() * per_bucket;
  durations.reshard_in = visible.reshard_in.count() * per_bucket;
  durations.reshard_out = visible.reshard_out.count() * per_bucket;
}

void StepSimulator::advance(std::size_t index) {
  Worker& worker = workers_[index];
  while (worker.next < worker.ops.size()) {
    const ScheduleOp& op = worker.ops[worker.next];
    if (is_message(op.kind)) {
      if (!do_group(index, worker)) {
        return;
      }
    } else if (op.kind == OpKind::forward || op.kind == OpKind::backward) {
      if (!do_compute(index, worker, op)) {
        return;
      }
      ++worker.next;
    } else if (op.kind == OpKind::optimizer) {
      if (!do_optimizer(index, worker)) {
        return;
      }
      ++worker.next;
    } else if (worker.has_stepped) {
      if (!do_sync(index, worker, op)) {
        return;
      }
      ++worker.next;
    } else {
      ++worker.next;  // a gradient op: done before the optimizer
    }
  }
}

bool StepSimulator::do_compute(std::size_t index, Worker& worker, const ScheduleOp& op) {
  const Durations& takes = durations_[static_cast<std::size_t>(worker.replica)];
  double begin = worker.now;
  if (!takes.blocks && !wait_for_input(index, worker, op, begin)) {
    return false;
  }
  const std::size_t chunk = static_cast<std::size_t>(worker.stage) * num_vp_stages_ +
                            static_cast<std::size_t>(op.vp_stage);
  const double length = op.kind == OpKind::forward ? takes.forward[chunk] : takes.backward[chunk];
  worker.now = begin + length;
  (op.kind == OpKind::forward ? worker.forward_end : worker.backward_end) = worker.now;
  result_.stages[index].compute += Seconds(length);
  record(worker, op, Stream::compute, begin, worker.now);
  return true;
}

/// Where sends are overlapped: when what a forward or backward needs is there. False if that is not
/// known yet; the worker is then woken by the sender.
bool StepSimulator::wait_for_input(std::size_t index,
                                   const Worker& worker,
                                   const ScheduleOp& op,
                                   double& ready) {
  const bool is_forward = op.kind == OpKind::forward;
  const auto stage = static_cast<std::size_t>(worker.stage);
  const auto vp_stage = static_cast<std::size_t>(op.vp_stage);
  const bool is_model_end = is_forward ? stage == 0 && vp_stage == 0
                                       : stage + 1 == num_stages_ && vp_stage + 1 == num_vp_stages_;
  if (is_model_end || num_stages_ == 1) {
    return true;
  }
  const std::size_t way = is_forward ? 0 : 1;
  const std::size_t virtual_microbatch = slot_of(op);
  const auto message =
      static_cast<std::size_t>(input_at_[(2 * index + way) * max_messages_ + virtual_microbatch]);
  const std::size_t channel = sender_channel(worker, way);
  const double sent = sent_at_[channel * max_messages_ + message];
  if (sent < 0.0) {
    channels_[channel].waiter = static_cast<std::int32_t>(index);
    return false;
  }
  ready = std::max(ready, sent + durations_[static_cast<std::size_t>(worker.replica)].send);
  return true;
}

/// The sends and receives that are posted together. False while one of them waits for its other
/// end.
bool StepSimulator::do_group(std::size_t index, Worker& worker) {
  std::size_t end = worker.next + 1;
  while (end < worker.ops.size() && worker.ops[end].joins_group) {
    ++end;
  }
  if (!worker.has_posted) {
    post_group(index, worker, end);
  }
  const Durations& takes = durations_[static_cast<std::size_t>(worker.replica)];
  if (!takes.blocks) {
    worker.next = end;
    worker.has_posted = false;
    return true;
  }
  double finish = worker.now;
  for (std::size_t i = worker.next; i < end; ++i) {
    const ScheduleOp& op = worker.ops[i];
    const auto [channel, number] = worker.posted[i - worker.next];
    const std::size_t at = channel * max_messages_ + number;
    const double other = is_send(op.kind) ? received_at_[at] : sent_at_[at];
    if (other < 0.0) {
      channels_[channel].waiter = static_cast<std::int32_t>(index);
      return false;
    }
    finish = std::max(finish, std::max(worker.now, other) + takes.send);
  }
  for (std::size_t i = worker.next; i < end && timeline_ != nullptr; ++i) {
    record(worker, worker.ops[i], Stream::pp, worker.now, finish);
  }
  worker.now = finish;
  worker.next = end;
  worker.has_posted = false;
  return true;
}

void StepSimulator::post_group(std::size_t index, Worker& worker, std::size_t end) {
  require(end - worker.next <= 4, "a group has at most two sends and two receives");
  const bool blocks = durations_[static_cast<std::size_t>(worker.replica)].blocks;
  for (std::size_t i = worker.next; i < end; ++i) {
    const ScheduleOp& op = worker.ops[i];
    const std::size_t way = direction(op.kind);
    const bool sends = is_send(op.kind);
    const std::size_t channel = sends ? 2 * index + way : sender_channel(worker, way);
    const std::size_t message =
        sends ? channels_[channel].num_sent++ : channels_[channel].num_received++;
    const std::size_t at = channel * max_messages_ + message;
    worker.posted[i - worker.next] = {channel, message};
    if (sends) {
      // Beside compute, a send leaves as soon as what it carries is there.
      const double made = way == 0 ? worker.forward_end : worker.backward_end;
      sent_at_[at] = blocks ? worker.now : made;
    } else {
      received_at_[at] = worker.now;
      input_at_[(2 * index + way) * max_messages_ + slot_of(op)] =
          static_cast<std::int32_t>(message);
    }
    wake(channels_[channel]);
  }
  worker.has_posted = true;
}

bool StepSimulator::do_optimizer(std::size_t index, Worker& worker) {
  for (; worker.next_gradient_op < worker.next; ++worker.next_gradient_op) {
    const ScheduleOp& op = worker.ops[worker.next_gradient_op];
    if (is_before_optimizer(op.kind) && !do_sync(index, worker, op)) {
      return false;
    }
  }
  const Durations& takes = durations_[static_cast<std::size_t>(worker.replica)];
  const double begin = worker.now;
  worker.now += takes.optimizer;
  worker.has_stepped = true;
  result_.stages[index].sync += Seconds(takes.optimizer);
  record(worker, worker.ops[worker.next], Stream::compute, begin, worker.now);
  return true;
}

/// A reduction or gather begins when all replicas have come to it.
bool StepSimulator::do_sync(std::size_t index, Worker& worker, const ScheduleOp& op) {
  const Durations& takes = durations_[static_cast<std::size_t>(worker.replica)];
  double begin = worker.now;
  if (op.kind == OpKind::reduce || op.kind == OpKind::gather) {
    if (!meet(index, worker, begin)) {
      return false;
    }
  }
  const bool is_reshard_in = op.kind == OpKind::reshard_to_sync;
  const bool is_reshard = is_reshard_in || op.kind == OpKind::reshard_to_compute;
  const double length = is_reshard_in               ? takes.reshard_in
                        : is_reshard                ? takes.reshard_out
                        : op.kind == OpKind::reduce ? takes.reduce
                                                    : takes.gather;
  worker.now = begin + length;
  result_.stages[index].sync += Seconds(length);
  record(worker, op, is_reshard ? Stream::tp : Stream::dp, begin, worker.now);
  return true;
}

bool StepSimulator::meet(std::size_t index, Worker& worker, double& begin) {
  const std::size_t num_replicas = durations_.size();
  if (num_replicas == 1) {
    return true;
  }
  const auto stage = static_cast<std::size_t>(worker.stage);
  const std::size_t at = worker.num_met * num_stages_ + stage;
  if (at >= meetings_.size()) {
    meetings_.resize((worker.num_met + 1) * num_stages_);
  }
  Meeting& meeting = meetings_[at];
  if (!worker.has_arrived) {
    worker.has_arrived = true;
    ++meeting.num_arrived;
    meeting.latest = std::max(meeting.latest, worker.now);
    if (meeting.num_arrived == num_replicas) {
      for (std::size_t r = 0; r < num_replicas; ++r) {
        const std::size_t peer = r * num_stages_ + stage;
        if (peer != index) {
          runnable_.push_back(static_cast<std::int32_t>(peer));
        }
      }
    }
  }
  if (meeting.num_arrived < num_replicas) {
    return false;
  }
  begin = meeting.latest;
  worker.has_arrived = false;
  ++worker.num_met;
  return true;
}

void StepSimulator::wake(Channel& channel) {
  if (channel.waiter >= 0) {
    runnable_.push_back(channel.waiter);
    channel.waiter = -1;
  }
}

std::size_t StepSimulator::slot_of(const ScheduleOp& op) const {
  return static_cast<std::size_t>(op.microbatch) * num_vp_stages_ +
         static_cast<std::size_t>(op.vp_stage);
}

std::size_t StepSimulator::sender_channel(const Worker& worker, std::size_t way) const {
  const auto stage = static_cast<std::size_t>(worker.stage);
  const std::size_t sender =
      way == 0 ? (stage + num_stages_ - 1) % num_stages_ : (stage + 1) % num_stages_;
  return 2 * (static_cast<std::size_t>(worker.replica) * num_stages_ + sender) + way;
}

void StepSimulator::record(
    const Worker& worker, const ScheduleOp& op, Stream stream, double begin, double end) {
  if (timeline_ == nullptr) {
    return;
  }
  Span span;
  span.rank =
      Rank(static_cast<std::int64_t>(worker.replica) * static_cast<std::int64_t>(num_stages_) +
           worker.stage);
  span.stream = stream;
  span.name = std::string(name_of(op.kind));
  span.begin = Seconds(begin);
  span.end = Seconds(end);
  span.microbatch = op.microbatch;
  span.vp_stage = op.vp_stage;
  span.bucket = op.bucket;
  timeline_->add(std::move(span));
}

StepSchedule schedule_of(const StepQuery& query, int num_buckets) {
  PipelineShape shape;
  shape.num_stages = static_cast<int>(query.pp);
  shape.num_vp_stages = static_cast<int>(query.vpp);
  shape.num_microbatches = static_cast<int>(query.num_microbatches);
  const std::int64_t rest = query.num_microbatches % query.pp;
  if (query.vpp > 1 && rest != 0) {
    shape.microbatch_group_size = shape.num_microbatches;
  }
  return make_step_schedule(shape,
                            {.num_buckets = num_buckets,
                             .reshard = query.sync_tp() < query.tp,
                             .distributed_optimizer = query.zero_stage >= 1});
}

}  // namespace runflat::sim
