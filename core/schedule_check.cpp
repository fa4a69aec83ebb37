#include "core/schedule_check.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <vector>

namespace runflat {
namespace {

std::string describe(int stage, const ScheduleOp& op) {
  return fmt::format("stage {}: {} of microbatch {}, virtual stage {}, bucket {}, peer {}",
                     stage,
                     name_of(op.kind),
                     op.microbatch,
                     op.vp_stage,
                     op.bucket,
                     op.peer);
}

bool is_send(const ScheduleOp& op) {
  return op.kind == OpKind::send_activation || op.kind == OpKind::send_gradient;
}
bool is_message(const ScheduleOp& op) {
  return is_send(op) || op.kind == OpKind::recv_activation || op.kind == OpKind::recv_gradient;
}

/// What has happened to one (microbatch, virtual stage) on one stage: a set of bits.
using Progress = unsigned;
constexpr Progress kReceived = 1;
constexpr Progress kForwarded = 2;
constexpr Progress kSent = 4;
constexpr Progress kGradientReceived = 8;
constexpr Progress kBackwarded = 16;
constexpr Progress kGradientSent = 32;

/// Whether the ops of one stage, by themselves, do everything once and in a possible order.
class StageChecker {
 public:
  StageChecker(const StepSchedule& schedule, int stage)
      : shape_(schedule.shape()),
        stage_(stage),
        done_(count(shape_.num_microbatches) * count(shape_.num_vp_stages), 0U),
        num_backwards_(count(shape_.num_vp_stages), 0) {}

  [[nodiscard]] std::optional<ScheduleFault> run(std::span<const ScheduleOp> ops) {
    for (const ScheduleOp& op : ops) {
      if (!accept(op)) {
        return ScheduleFault{describe(stage_, op) + " is out of order, repeated, or out of range"};
      }
    }
    for (std::size_t i = 0; i < done_.size(); ++i) {
      const int vp_stage = static_cast<int>(i) % shape_.num_vp_stages;
      if (done_[i] != (inputs(vp_stage) | outputs(vp_stage) | kForwarded | kBackwarded)) {
        return ScheduleFault{
            fmt::format("stage {}: microbatch {}, virtual stage {} is not finished",
                        stage_,
                        static_cast<int>(i) / shape_.num_vp_stages,
                        vp_stage)};
      }
    }
    if (!optimizer_done_ || reduced_.empty()) {
      return ScheduleFault{fmt::format("stage {}: no gradient reduction or optimizer", stage_)};
    }
    return check_buckets();
  }

  /// Of each virtual stage, after `run`.
  [[nodiscard]] std::size_t num_buckets() const {
    return reduced_.size() / count(shape_.num_vp_stages);
  }

 private:
  static std::size_t count(int n) { return static_cast<std::size_t>(n); }

  [[nodiscard]] bool is_first(int vp_stage) const { return stage_ == 0 && vp_stage == 0; }
  [[nodiscard]] bool is_last(int vp_stage) const {
    return stage_ == shape_.num_stages - 1 && vp_stage == shape_.num_vp_stages - 1;
  }
  [[nodiscard]] Progress inputs(int vp_stage) const {
    return (is_first(vp_stage) ? 0U : kReceived) | (is_last(vp_stage) ? 0U : kGradientReceived);
  }
  [[nodiscard]] Progress outputs(int vp_stage) const {
    return (is_last(vp_stage) ? 0U : kSent) | (is_first(vp_stage) ? 0U : kGradientSent);
  }

  [[nodiscard]] bool accept(const ScheduleOp& op) {
    const int next = (stage_ + 1) % shape_.num_stages;
    const int previous = (stage_ + shape_.num_stages - 1) % shape_.num_stages;
    switch (op.kind) {
      case OpKind::forward:
        return advance(op, kForwarded, inputs(op.vp_stage) & kReceived);
      case OpKind::backward:
        return advance(op, kBackwarded, kForwarded | (inputs(op.vp_stage) & kGradientReceived));
      case OpKind::recv_activation:
        return op.peer == previous && !is_first(op.vp_stage) && advance(op, kReceived, 0U);
      case OpKind::send_activation:
        return op.peer == next && !is_last(op.vp_stage) && advance(op, kSent, kForwarded);
      case OpKind::recv_gradient:
        return op.peer == next && !is_last(op.vp_stage) && advance(op, kGradientReceived, 0U);
      case OpKind::send_gradient:
        return op.peer == previous && !is_first(op.vp_stage) &&
               advance(op, kGradientSent, kBackwarded);
      case OpKind::reshard_to_sync:
      case OpKind::reduce:
        return accept_gradients(op);
      case OpKind::reshard_to_compute:
        return reduced_with(op);
      case OpKind::optimizer:
        return !std::exchange(optimizer_done_, true);
      case OpKind::gather:
        return optimizer_done_ && reduced_with(op);
    }
    return false;
  }

  /// Adds `step` to what has been done, if `needed` has been and `step` has not.
  [[nodiscard]] bool advance(const ScheduleOp& op, Progress step, Progress needed) {
    if (op.microbatch < 0 || op.microbatch >= shape_.num_microbatches || op.vp_stage < 0 ||
        op.vp_stage >= shape_.num_vp_stages) {
      return false;
    }
    Progress& done = done_[count(op.microbatch) * count(shape_.num_vp_stages) + count(op.vp_stage)];
    if ((done & step) != 0 || (done & needed) != needed) {
      return false;
    }
    done |= step;
    num_backwards_[count(op.vp_stage)] += static_cast<int>(step == kBackwarded);
    return true;
  }

  [[nodiscard]] bool accept_gradients(const ScheduleOp& op) {
    if (optimizer_done_ || op.bucket < 0 || op.vp_stage < 0 ||
        op.vp_stage >= shape_.num_vp_stages || reduced_with(op) ||
        num_backwards_[count(op.vp_stage)] != shape_.num_microbatches) {
      return false;
    }
    if (op.kind == OpKind::reduce) {
      reduced_.push_back({op.vp_stage, op.bucket});
    }
    return true;
  }

  [[nodiscard]] bool reduced_with(const ScheduleOp& op) const {
    return std::find(reduced_.begin(),
                     reduced_.end(),
                     std::pair<int, int>(op.vp_stage, op.bucket)) != reduced_.end();
  }

  /// Every virtual stage must have reduced the buckets 0, 1, ..., and as many as the others.
  [[nodiscard]] std::optional<ScheduleFault> check_buckets() {
    std::sort(reduced_.begin(), reduced_.end());
    for (std::size_t i = 0; i < reduced_.size(); ++i) {
      if (num_buckets() == 0 || count(reduced_[i].first) != i / num_buckets() ||
          count(reduced_[i].second) != i % num_buckets()) {
        return ScheduleFault{fmt::format("stage {}: a bucket is not reduced", stage_)};
      }
    }
    return std::nullopt;
  }

  PipelineShape shape_;
  int stage_;
  std::vector<Progress> done_;
  std::vector<int> num_backwards_;
  std::vector<std::pair<int, int>> reduced_;
  bool optimizer_done_ = false;
};

/// The boundary of the model that a message crosses, counted in virtual stages of the pipeline:
/// both ends of a message must agree on it.
int boundary_of(const PipelineShape& shape, int stage, const ScheduleOp& op) {
  const int position = op.vp_stage * shape.num_stages + stage;
  const bool is_above = op.kind == OpKind::recv_activation || op.kind == OpKind::send_gradient;
  return is_above ? position : position + 1;
}

/// All stages run their lists, as far as the channels let them.
class ChannelRun {
 public:
  ChannelRun(const StepSchedule& schedule, int capacity)
      : schedule_(schedule),
        capacity_(static_cast<std::size_t>(capacity)),
        num_stages_(schedule.shape().num_stages),
        channels_(static_cast<std::size_t>(num_stages_) * static_cast<std::size_t>(num_stages_)),
        stages_(static_cast<std::size_t>(num_stages_)) {}

  [[nodiscard]] std::optional<ScheduleFault> run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (int stage = 0; stage < num_stages_; ++stage) {
        while (!fault_ && advance(stage)) {
          moved = true;
        }
      }
    }
    for (int stage = 0; stage < num_stages_ && !fault_; ++stage) {
      const std::span<const ScheduleOp> ops = schedule_.ops(PpRank{stage});
      const std::size_t next = at(stage).next;
      if (next < ops.size()) {
        fault_ = ScheduleFault{describe(stage, ops[next]) + " waits forever"};
      }
    }
    for (const Channel& channel : channels_) {
      if (!fault_ && channel.sends.size() != channel.recvs.size()) {
        fault_ = ScheduleFault{"a message is sent but never received"};
      }
    }
    return fault_;
  }

 private:
  struct Message {
    bool is_gradient;
    int microbatch;
    int boundary;
    friend bool operator==(const Message&, const Message&) = default;
  };
  struct Channel {
    std::vector<Message> sends;
    std::vector<Message> recvs;
  };
  struct Posted {
    Channel* channel;
    bool is_send;
    std::size_t number;  ///< position in the channel
  };
  struct Stage {
    std::size_t next = 0;         ///< the op, or first op of the group, that is under way
    std::vector<Posted> waiting;  ///< the messages of that group
  };

  Stage& at(int stage) { return stages_[static_cast<std::size_t>(stage)]; }
  Channel& channel(int sender, int receiver) {
    return channels_[static_cast<std::size_t>(sender) * static_cast<std::size_t>(num_stages_) +
                     static_cast<std::size_t>(receiver)];
  }

  /// Finishes the op or group that is under way; false if it has to wait or the list is at its end.
  bool advance(int stage) {
    Stage& state = at(stage);
    const std::span<const ScheduleOp> ops = schedule_.ops(PpRank{stage});
    if (state.next == ops.size()) {
      return false;
    }
    if (!is_message(ops[state.next])) {
      ++state.next;
      return true;
    }
    std::size_t end = state.next + 1;
    while (end < ops.size() && is_message(ops[end]) && ops[end].joins_group) {
      ++end;
    }
    const bool is_new = state.waiting.empty();
    for (std::size_t i = state.next; is_new && i < end; ++i) {
      post(stage, ops[i]);
    }
    if (!std::all_of(state.waiting.begin(), state.waiting.end(), [this](const Posted& posted) {
          return is_done(posted);
        })) {
      return is_new;
    }
    state.waiting.clear();
    state.next = end;
    return true;
  }

  void post(int stage, const ScheduleOp& op) {
    Channel& ends = is_send(op) ? channel(stage, op.peer) : channel(op.peer, stage);
    std::vector<Message>& own = is_send(op) ? ends.sends : ends.recvs;
    const std::vector<Message>& other = is_send(op) ? ends.recvs : ends.sends;
    own.push_back({op.kind == OpKind::send_gradient || op.kind == OpKind::recv_gradient,
                   op.microbatch,
                   boundary_of(schedule_.shape(), stage, op)});
    at(stage).waiting.push_back({&ends, is_send(op), own.size() - 1});
    if (own.size() <= other.size() && !(own.back() == other[own.size() - 1])) {
      fault_ = ScheduleFault{describe(stage, op) + " meets another message than its own"};
    }
  }

  [[nodiscard]] bool is_done(const Posted& posted) const {
    return posted.is_send ? posted.number < posted.channel->recvs.size() + capacity_
                          : posted.number < posted.channel->sends.size();
  }

  const StepSchedule& schedule_;
  std::size_t capacity_;
  int num_stages_;
  std::vector<Channel> channels_;
  std::vector<Stage> stages_;
  std::optional<ScheduleFault> fault_;
};

std::vector<ScheduleOp> collectives_of(const StepSchedule& schedule, int stage) {
  std::vector<ScheduleOp> collectives;
  for (const ScheduleOp& op : schedule.ops(PpRank{stage})) {
    if (op.kind == OpKind::reduce || op.kind == OpKind::gather) {
      collectives.push_back(op);
    }
  }
  return collectives;
}

}  // namespace

std::optional<ScheduleFault> check_schedule(const StepSchedule& schedule, int channel_capacity) {
  require(channel_capacity >= 0, "channel_capacity must not be negative");
  std::size_t num_buckets = 0;
  for (int stage = 0; stage < schedule.shape().num_stages; ++stage) {
    StageChecker checker(schedule, stage);
    if (auto fault = checker.run(schedule.ops(PpRank{stage}))) {
      return fault;
    }
    if (stage > 0 && checker.num_buckets() != num_buckets) {
      return ScheduleFault{fmt::format("stage {}: {} buckets, but {} on the stage before",
                                       stage,
                                       checker.num_buckets(),
                                       num_buckets)};
    }
    num_buckets = checker.num_buckets();
  }
  return ChannelRun(schedule, channel_capacity).run();
}

std::optional<ScheduleFault> check_collective_order(std::span<const StepSchedule> replicas) {
  if (replicas.empty()) {
    return std::nullopt;
  }
  const int num_stages = replicas.front().shape().num_stages;
  for (std::size_t i = 1; i < replicas.size(); ++i) {
    if (replicas[i].shape().num_stages != num_stages) {
      return ScheduleFault{"the replicas differ in the number of stages"};
    }
    for (int stage = 0; stage < num_stages; ++stage) {
      if (collectives_of(replicas.front(), stage) != collectives_of(replicas[i], stage)) {
        return ScheduleFault{
            fmt::format("stage {}: replicas 0 and {} have different collectives", stage, i)};
      }
    }
  }
  return std::nullopt;
}

}  // namespace runflat
