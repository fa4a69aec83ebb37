#pragma once

#include "core/id.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace runflat {

/// What one pipeline stage does in one step, as an ordered list of ops. All tensor- and
/// context-parallel ranks of a stage run the same list.
///
/// What whoever runs a schedule (the simulator as well as the executor) must do:
///  * The ops of a stage happen in list order. Consecutive sends and receives of one *group* (the
///    first has `joins_group` false, the others true) are posted together, as between
///    ncclGroupStart and ncclGroupEnd, and the group is over when all of them are.
///  * Between two stages, messages of one direction match in list order, whatever they carry: one
///    communicator for the whole pipeline is enough.
///  * A send may be a rendezvous, i.e. last until its receive is posted. `check_schedule` proves
///    that this cannot deadlock. Dropping constraints keeps that true, so communication may run
///    beside compute as long as groups keep their order, a forward or backward waits for its
///    receive, and a send for its forward or backward.
///  * The gradient ops of bucket b of a virtual stage may start within the last backward of that
///    virtual stage, as soon as the bucket's gradients are complete; their order on a stage is
///    fixed, and the same in every replica.
enum class OpKind : std::uint8_t {
  forward,
  backward,
  send_activation,
  recv_activation,
  send_gradient,
  recv_gradient,
  reshard_to_sync,     ///< gradients of a bucket from the compute to the sync map, within TP
  reduce,              ///< gradients of a bucket over DP: reduce-scatter, or all-reduce
  reshard_to_compute,  ///< back: of parameters with the distributed optimizer, else of gradients
  optimizer,           ///< the whole stage
  gather,              ///< parameters of a bucket over DP
};

[[nodiscard]] std::string_view name_of(OpKind kind);

/// Fields that do not apply to the kind are -1.
struct ScheduleOp {
  OpKind kind = OpKind::forward;
  bool joins_group = false;      ///< posted together with the op before it
  std::int16_t vp_stage = -1;    ///< this stage's own virtual stage, also of what it receives
  std::int16_t peer = -1;        ///< stage at the other end of a send or receive
  std::int16_t bucket = -1;      ///< in backward order: bucket 0 holds the last layers
  std::int32_t microbatch = -1;  ///< of compute, send and receive

  friend bool operator==(const ScheduleOp&, const ScheduleOp&) = default;
};

/// The pipeline of one replica; each replica has its own number of microbatches.
struct PipelineShape {
  int num_stages = 1;
  int num_vp_stages = 1;  ///< virtual stages per stage; above 1 the schedule is interleaved
  int num_microbatches = 1;
  /// Megatron's microbatch_group_size_per_vp_stage; 0 means num_stages.
  int microbatch_group_size = 0;

  friend bool operator==(const PipelineShape&, const PipelineShape&) = default;
};

/// What happens to the gradients at the end of a step. Each virtual stage has `num_buckets`
/// buckets. With `reshard` the replica computes in another map than it synchronises in; stages
/// whose two maps are equal then have nothing to move.
struct GradientSync {
  int num_buckets = 1;
  bool reshard = false;
  bool distributed_optimizer = true;
};

/// The op lists of all stages of one replica, in one array.
class StepSchedule {
 public:
  /// The list of stage s is ops[first_op[s], first_op[s + 1]). The lists are not examined here:
  /// `check_schedule` does that.
  StepSchedule(PipelineShape shape, std::vector<ScheduleOp> ops, std::vector<std::size_t> first_op);

  [[nodiscard]] const PipelineShape& shape() const { return shape_; }
  [[nodiscard]] std::span<const ScheduleOp> ops(PpRank stage) const {
    return std::span(ops_).subspan(first_op_[stage.index()],
                                   first_op_[stage.index() + 1] - first_op_[stage.index()]);
  }
  [[nodiscard]] std::size_t num_ops() const { return ops_.size(); }

  friend bool operator==(const StepSchedule&, const StepSchedule&) = default;

 private:
  PipelineShape shape_;
  std::vector<ScheduleOp> ops_;
  std::vector<std::size_t> first_op_;
};

/// Megatron's 1F1B (one virtual stage) or interleaved schedule, with its batched sends and
/// receives. Throws InvalidArgument where Megatron refuses the shape: interleaving needs at least
/// two stages, num_stages <= group size N <= num_microbatches, and no last group of fewer than
/// num_stages microbatches.
[[nodiscard]] StepSchedule make_step_schedule(const PipelineShape& shape,
                                              const GradientSync& sync = {});

/// Forwards that a stage runs before its first backward: min(m, pp - r - 1) for 1F1B and
/// min(m v, 2 (pp - r - 1) + (v - 1) N) interleaved.
[[nodiscard]] int num_warmup_microbatches(const PipelineShape& shape, PpRank stage);

/// The k-th forward of a stage; the k-th backward has virtual stage num_vp_stages - 1 - vp_stage.
struct VirtualMicrobatch {
  int microbatch = 0;
  int vp_stage = 0;

  friend bool operator==(const VirtualMicrobatch&, const VirtualMicrobatch&) = default;
};
[[nodiscard]] std::vector<VirtualMicrobatch> make_order_table(const PipelineShape& shape);

/// The most (microbatch, virtual stage) pairs that are forwarded and not yet backwarded on a stage:
/// what its activation memory must hold.
[[nodiscard]] int peak_in_flight(const StepSchedule& schedule, PpRank stage);

}  // namespace runflat
