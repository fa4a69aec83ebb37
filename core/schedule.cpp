#include "core/schedule.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <limits>

namespace runflat {
namespace {

int group_size_of(const PipelineShape& shape) {
  return shape.microbatch_group_size > 0 ? shape.microbatch_group_size : shape.num_stages;
}

void require_valid(const PipelineShape& shape) {
  constexpr int kMaxStages = std::numeric_limits<std::int16_t>::max();
  require(shape.num_stages >= 1 && shape.num_stages <= kMaxStages, "num_stages out of range");
  require(shape.num_vp_stages >= 1 && shape.num_vp_stages <= kMaxStages,
          "num_vp_stages out of range");
  require(shape.num_microbatches >= 1, "a replica needs at least one microbatch");
  require(shape.microbatch_group_size >= 0, "microbatch_group_size must not be negative");
  if (shape.num_vp_stages == 1) {
    return;
  }
  const int group_size = group_size_of(shape);
  const int remainder = shape.num_microbatches % group_size;
  require(shape.num_stages >= 2, "interleaving needs at least two pipeline stages");
  require(shape.num_stages <= group_size && group_size <= shape.num_microbatches,
          "interleaving needs num_stages <= microbatch_group_size <= num_microbatches");
  require(remainder == 0 || remainder >= shape.num_stages,
          "the last microbatch group must not have fewer microbatches than there are stages");
}

/// Warm-up count before it is limited to the number of forwards that there are.
int unlimited_warmup(const PipelineShape& shape, int stage) {
  const int later_stages = shape.num_stages - stage - 1;
  return shape.num_vp_stages == 1
             ? later_stages
             : 2 * later_stages + (shape.num_vp_stages - 1) * group_size_of(shape);
}

/// Appends the op list of one stage at a time.
class StageWriter {
 public:
  StageWriter(const PipelineShape& shape, const GradientSync& sync) : shape_(shape), sync_(sync) {
    const int ops_per_microbatch = shape.num_stages == 1 ? 2 : 6;
    const int num_compute = shape.num_microbatches * shape.num_vp_stages;
    const int num_sync = 4 * sync.num_buckets * shape.num_vp_stages + 1;
    ops_.reserve(static_cast<std::size_t>(shape.num_stages) *
                 static_cast<std::size_t>(ops_per_microbatch * num_compute + num_sync));
    first_op_.reserve(static_cast<std::size_t>(shape.num_stages) + 1);
    first_op_.push_back(0);
  }

  void start_stage(int stage) {
    stage_ = stage;
    start_group();
  }
  void end_stage() {
    finish_step();
    first_op_.push_back(ops_.size());
  }

  void start_group() { group_is_open_ = false; }

  void forward(VirtualMicrobatch v) { compute(OpKind::forward, v); }
  void backward(VirtualMicrobatch v) {
    compute(OpKind::backward, v);
    if (v.microbatch == shape_.num_microbatches - 1) {
      reduce_gradients(v.vp_stage);
    }
  }

  // The four messages of a microbatch. At the ends of the model there is nothing to exchange.
  void recv_activation(VirtualMicrobatch v) {
    if (!is_first(v.vp_stage)) {
      message(OpKind::recv_activation, v, previous_stage());
    }
  }
  void send_activation(VirtualMicrobatch v) {
    if (!is_last(v.vp_stage)) {
      message(OpKind::send_activation, v, next_stage());
    }
  }
  void recv_gradient(VirtualMicrobatch v) {
    if (!is_last(v.vp_stage)) {
      message(OpKind::recv_gradient, v, next_stage());
    }
  }
  void send_gradient(VirtualMicrobatch v) {
    if (!is_first(v.vp_stage)) {
      message(OpKind::send_gradient, v, previous_stage());
    }
  }

  [[nodiscard]] StepSchedule finish() && { return {shape_, std::move(ops_), std::move(first_op_)}; }

 private:
  [[nodiscard]] bool is_first(int vp_stage) const { return stage_ == 0 && vp_stage == 0; }
  [[nodiscard]] bool is_last(int vp_stage) const {
    return stage_ == shape_.num_stages - 1 && vp_stage == shape_.num_vp_stages - 1;
  }
  [[nodiscard]] int next_stage() const { return stage_ + 1 == shape_.num_stages ? 0 : stage_ + 1; }
  [[nodiscard]] int previous_stage() const {
    return stage_ == 0 ? shape_.num_stages - 1 : stage_ - 1;
  }

  void compute(OpKind kind, VirtualMicrobatch v) {
    start_group();
    ops_.push_back({.kind = kind,
                    .vp_stage = static_cast<std::int16_t>(v.vp_stage),
                    .microbatch = v.microbatch});
  }

  void message(OpKind kind, VirtualMicrobatch v, int peer) {
    ops_.push_back({.kind = kind,
                    .joins_group = group_is_open_,
                    .vp_stage = static_cast<std::int16_t>(v.vp_stage),
                    .peer = static_cast<std::int16_t>(peer),
                    .microbatch = v.microbatch});
    group_is_open_ = true;
  }

  void sync_op(OpKind kind, int vp_stage, int bucket) {
    ops_.push_back({.kind = kind,
                    .vp_stage = static_cast<std::int16_t>(vp_stage),
                    .bucket = static_cast<std::int16_t>(bucket)});
  }

  void reduce_gradients(int vp_stage) {
    for (int bucket = 0; bucket < sync_.num_buckets; ++bucket) {
      if (sync_.reshard) {
        sync_op(OpKind::reshard_to_sync, vp_stage, bucket);
      }
      sync_op(OpKind::reduce, vp_stage, bucket);
    }
  }

  /// After the last reduction. Parameters come back in the order in which the next forward needs
  /// them; gradients in the order in which they were reduced.
  void finish_step() {
    if (!sync_.distributed_optimizer && sync_.reshard) {
      for (int vp_stage = shape_.num_vp_stages - 1; vp_stage >= 0; --vp_stage) {
        for (int bucket = 0; bucket < sync_.num_buckets; ++bucket) {
          sync_op(OpKind::reshard_to_compute, vp_stage, bucket);
        }
      }
    }
    ops_.push_back({.kind = OpKind::optimizer});
    if (!sync_.distributed_optimizer) {
      return;
    }
    for (int vp_stage = 0; vp_stage < shape_.num_vp_stages; ++vp_stage) {
      for (int bucket = sync_.num_buckets - 1; bucket >= 0; --bucket) {
        sync_op(OpKind::gather, vp_stage, bucket);
        if (sync_.reshard) {
          sync_op(OpKind::reshard_to_compute, vp_stage, bucket);
        }
      }
    }
  }

  PipelineShape shape_;
  GradientSync sync_;
  std::vector<ScheduleOp> ops_;
  std::vector<std::size_t> first_op_;
  int stage_ = 0;
  bool group_is_open_ = false;
};

/// Warm-up forwards with single messages, then pairs with send_forward_recv_backward and
/// send_backward_recv_forward, then the backwards that are left.
void write_1f1b(StageWriter& out, const PipelineShape& shape, int stage) {
  const int num_microbatches = shape.num_microbatches;
  const int num_warmup = std::min(num_microbatches, unlimited_warmup(shape, stage));
  const int num_steady = num_microbatches - num_warmup;
  const auto recv_activation = [&out](int microbatch) {
    out.start_group();
    out.recv_activation({.microbatch = microbatch});
  };
  for (int k = 0; k < num_warmup; ++k) {
    recv_activation(k);
    out.forward({.microbatch = k});
    out.send_activation({.microbatch = k});
  }
  if (num_steady > 0) {
    recv_activation(num_warmup);
  }
  for (int k = 0; k < num_steady; ++k) {
    out.forward({.microbatch = num_warmup + k});
    out.send_activation({.microbatch = num_warmup + k});
    out.recv_gradient({.microbatch = k});
    out.backward({.microbatch = k});
    out.send_gradient({.microbatch = k});
    if (k + 1 < num_steady) {
      out.recv_activation({.microbatch = num_warmup + k + 1});
    }
  }
  for (int k = num_steady; k < num_microbatches; ++k) {
    out.start_group();
    out.recv_gradient({.microbatch = k});
    out.backward({.microbatch = k});
    out.send_gradient({.microbatch = k});
  }
}

/// With w the unlimited warm-up count of the stage, iteration i runs forward w + i and backward i
/// (those that exist), and then one group: sends what they made, and receives what iteration i + 1
/// of this stage needs. Stage r in iteration i and stage r + 1 in iteration i + 1 then talk to each
/// other in one and the same round i - r, and so do the last stage and stage 0, where the tensors
/// pass to the next virtual stage: stage 0 receives in iteration i what the last stage made
/// pp - 1 positions earlier in the order, and keeps it until it needs it (N >= pp makes this early
/// enough). All stages take part in the rounds in the same order, so they cannot block each other.
void write_interleaved(StageWriter& out,
                       const PipelineShape& shape,
                       const std::vector<VirtualMicrobatch>& table,
                       int stage) {
  const int total = static_cast<int>(table.size());
  const int warmup = unlimited_warmup(shape, stage);
  const int last_vp_stage = shape.num_vp_stages - 1;
  const bool is_first_stage = stage == 0;
  const bool is_last_stage = stage == shape.num_stages - 1;
  const auto exists = [total](int k) { return k >= 0 && k < total; };
  const auto forward_at = [&table](int k) { return table[static_cast<std::size_t>(k)]; };
  const auto backward_at = [&table, last_vp_stage](int k) {
    const VirtualMicrobatch v = table[static_cast<std::size_t>(k)];
    return VirtualMicrobatch{v.microbatch, last_vp_stage - v.vp_stage};
  };

  for (int i = -warmup - 1; i < total; ++i) {
    const int forward = warmup + i;
    if (exists(forward)) {
      out.forward(forward_at(forward));
    }
    if (exists(i)) {
      out.backward(backward_at(i));
    }
    out.start_group();
    if (exists(forward)) {
      out.send_activation(forward_at(forward));
    }
    const int wrapped_forward = forward - (shape.num_stages - 1);
    if (!is_first_stage && exists(forward + 1)) {
      out.recv_activation(forward_at(forward + 1));
    } else if (is_first_stage && exists(wrapped_forward) &&
               forward_at(wrapped_forward).vp_stage < last_vp_stage) {
      const VirtualMicrobatch made = forward_at(wrapped_forward);
      out.recv_activation({made.microbatch, made.vp_stage + 1});
    }
    if (exists(i)) {
      out.send_gradient(backward_at(i));
    }
    const int wrapped_backward = i - (shape.num_stages - 1);
    if (!is_last_stage && exists(i + 1)) {
      out.recv_gradient(backward_at(i + 1));
    } else if (is_last_stage && exists(wrapped_backward) &&
               backward_at(wrapped_backward).vp_stage > 0) {
      const VirtualMicrobatch made = backward_at(wrapped_backward);
      out.recv_gradient({made.microbatch, made.vp_stage - 1});
    }
  }
}

}  // namespace

std::string_view name_of(OpKind kind) {
  switch (kind) {
    case OpKind::forward:
      return "forward";
    case OpKind::backward:
      return "backward";
    case OpKind::send_activation:
      return "send_activation";
    case OpKind::recv_activation:
      return "recv_activation";
    case OpKind::send_gradient:
      return "send_gradient";
    case OpKind::recv_gradient:
      return "recv_gradient";
    case OpKind::reshard_to_sync:
      return "reshard_to_sync";
    case OpKind::reduce:
      return "reduce";
    case OpKind::reshard_to_compute:
      return "reshard_to_compute";
    case OpKind::optimizer:
      return "optimizer";
    case OpKind::gather:
      return "gather";
  }
  return "";
}

StepSchedule::StepSchedule(PipelineShape shape,
                           std::vector<ScheduleOp> ops,
                           std::vector<std::size_t> first_op)
    : shape_(shape), ops_(std::move(ops)), first_op_(std::move(first_op)) {
  require(first_op_.size() == static_cast<std::size_t>(shape_.num_stages) + 1,
          "a schedule needs one op range per stage");
  require(first_op_.front() == 0 && first_op_.back() == ops_.size() &&
              std::is_sorted(first_op_.begin(), first_op_.end()),
          "the op ranges of the stages must follow each other and cover all ops");
}

StepSchedule make_step_schedule(const PipelineShape& shape, const GradientSync& sync) {
  require_valid(shape);
  require(sync.num_buckets >= 1 && sync.num_buckets <= std::numeric_limits<std::int16_t>::max(),
          "num_buckets out of range");
  StageWriter out(shape, sync);
  const std::vector<VirtualMicrobatch> table =
      shape.num_vp_stages > 1 ? make_order_table(shape) : std::vector<VirtualMicrobatch>{};
  for (int stage = 0; stage < shape.num_stages; ++stage) {
    out.start_stage(stage);
    if (shape.num_vp_stages == 1) {
      write_1f1b(out, shape, stage);
    } else {
      write_interleaved(out, shape, table, stage);
    }
    out.end_stage();
  }
  return std::move(out).finish();
}

int num_warmup_microbatches(const PipelineShape& shape, PpRank stage) {
  require_valid(shape);
  return std::min(shape.num_microbatches * shape.num_vp_stages,
                  unlimited_warmup(shape, static_cast<int>(stage.value())));
}

std::vector<VirtualMicrobatch> make_order_table(const PipelineShape& shape) {
  require_valid(shape);
  const int group_size = group_size_of(shape);
  std::vector<VirtualMicrobatch> table;
  table.reserve(static_cast<std::size_t>(shape.num_microbatches) *
                static_cast<std::size_t>(shape.num_vp_stages));
  for (int first = 0; first < shape.num_microbatches; first += group_size) {
    const int last = std::min(first + group_size, shape.num_microbatches);
    for (int vp_stage = 0; vp_stage < shape.num_vp_stages; ++vp_stage) {
      for (int microbatch = first; microbatch < last; ++microbatch) {
        table.push_back({microbatch, vp_stage});
      }
    }
  }
  return table;
}

int peak_in_flight(const StepSchedule& schedule, PpRank stage) {
  int in_flight = 0;
  int peak = 0;
  for (const ScheduleOp& op : schedule.ops(stage)) {
    in_flight += static_cast<int>(op.kind == OpKind::forward);
    in_flight -= static_cast<int>(op.kind == OpKind::backward);
    peak = std::max(peak, in_flight);
  }
  return peak;
}

}  // namespace runflat
