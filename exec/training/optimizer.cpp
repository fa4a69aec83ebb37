#include "exec/training/optimizer.hpp"

#include <array>

namespace runflat::exec {
namespace {

constexpr std::int64_t kSquares = 0;
constexpr std::int64_t kTokens = 1;
constexpr std::int64_t kLoss = 2;
constexpr std::int64_t kMeeting = 3;
constexpr std::int64_t kStopping = 4;
constexpr std::int64_t kNumSums = 5;
constexpr std::int64_t kNorm = 5;
constexpr std::int64_t kScale = 6;
constexpr std::size_t kNumNumbers = 7;

double* number(const Buffer& numbers, std::int64_t index) {
  return static_cast<double*>(numbers.data()) + index;
}

}  // namespace

Optimizer::Optimizer(Device& device,
                     std::vector<StageState*> stages,
                     const OptimizerConfig& config,
                     Communicator* world,
                     std::chrono::milliseconds timeout)
    : device_(device),
      stages_(std::move(stages)),
      config_(config),
      world_(world),
      timeout_(timeout),
      numbers_(device.allocate(static_cast<std::int64_t>(kNumNumbers * sizeof(double)))) {}

void Optimizer::add_squares(StageState& stage) {
  const StagePlace& place = stage.place();
  if (!place.is_sharded && place.peer != 0) {
    return;  // the first replica counts for all
  }
  std::vector<kernels::GradRun> runs;
  const std::int64_t size = kernels::size_of(stage.accumulate_type());
  for (const Bucket& bucket : stage.buckets()) {
    for (const SliceRun& run : runs_of(stage.layout(), bucket.shape, bucket.slice.elements)) {
      if (stage.counts(run.param)) {
        runs.push_back({.grad = bucket.grads.at(run.sync_offset * size), .num = run.elements.num});
      }
    }
  }
  device_.squared_sum(
      {.runs = runs, .sum = number(numbers_, kSquares), .type = stage.accumulate_type()});
}

std::optional<Optimizer::Sums> Optimizer::sum_up(const Part& part) {
  std::array<double, kNumNumbers> start{};
  start[kTokens] = part.tokens;
  start[kLoss] = part.loss;
  start[kMeeting] = part.wishes.meets ? 1.0 : 0.0;
  start[kStopping] = part.wishes.stops ? 1.0 : 0.0;
  device_.copy_in(numbers_.data(), start.data(), numbers_.bytes());
  for (StageState* stage : stages_) {
    add_squares(*stage);
  }
  if (world_ != nullptr) {
    world_->join(world_->all_reduce(numbers_.data(), kNumSums, DataType::fp64, ReduceOp::sum));
    if (world_->wait(deadline_in(timeout_)) != SyncStatus::done) {
      return std::nullopt;
    }
  }
  std::array<double, kNumNumbers> sums{};
  device_.copy_out(sums.data(), numbers_.data(), numbers_.bytes());
  return Sums{
      .decision = {.squared_sum = sums[kSquares], .tokens = sums[kTokens], .loss = sums[kLoss]},
      .wishes = {.meets = sums[kMeeting] > 0.0, .stops = sums[kStopping] > 0.0}};
}

StepSums Optimizer::prepare(const StepDecision& decision) {
  std::array<double, kNumNumbers> sums{};
  sums[kSquares] = decision.squared_sum;
  sums[kTokens] = decision.tokens;
  sums[kLoss] = decision.loss;
  device_.copy_in(numbers_.data(), sums.data(), numbers_.bytes());
  device_.clip_scale({.squared_sum = number(numbers_, kSquares),
                      .tokens = number(numbers_, kTokens),
                      .norm = number(numbers_, kNorm),
                      .scale = number(numbers_, kScale),
                      .max_norm = config_.clip_grad});
  device_.copy_out(sums.data(), numbers_.data(), numbers_.bytes());
  const double num = sums[kTokens] > 0.0 ? sums[kTokens] : 1.0;
  return {.loss = sums[kLoss] / num, .tokens = sums[kTokens], .grad_norm = sums[kNorm]};
}

void Optimizer::append_tensors(StageState& stage,
                               const Bucket& bucket,
                               const OptimizerSlice& slice,
                               void* grads,
                               bool is_copy,
                               std::vector<kernels::AdamwTensor>& out) const {
  const std::int64_t state_size = kernels::size_of(stage.accumulate_type());
  const bool rounds = stage.type() != stage.accumulate_type() && !is_copy;
  for (const SliceRun& run : runs_of(stage.layout(), bucket.shape, slice.elements)) {
    const std::int64_t at = (run.sync_offset - slice.elements.first) * state_size;
    void* weight = bucket.weights.at(run.sync_offset * kernels::size_of(stage.type()));
    const bool decays = stage.params()[run.param].decays();
    out.push_back({.grad = static_cast<std::byte*>(grads) + at,
                   .master = stage.master_at(bucket, slice, run.sync_offset),
                   .exp_avg = slice.exp_avg.at(at),
                   .exp_avg_sq = slice.exp_avg_sq.at(at),
                   .weight = rounds ? weight : nullptr,
                   .num = run.elements.num,
                   .weight_decay = decays ? config_.weight_decay : 0.0});
  }
}

void Optimizer::update(std::size_t stage, std::size_t bucket, double lr, std::int64_t step) {
  StageState& state = *stages_[stage];
  const Bucket& it = state.buckets()[bucket];
  std::vector<kernels::AdamwTensor> tensors;
  void* own = it.grads.at(it.slice.elements.first * kernels::size_of(state.accumulate_type()));
  append_tensors(state, it, it.slice, own, false, tensors);
  if (it.buddy) {
    append_tensors(state, it, *it.buddy, it.buddy_grads.data(), true, tensors);
  }
  device_.adamw({.tensors = tensors,
                 .scale = number(numbers_, kScale),
                 .lr = lr,
                 .beta1 = config_.adam_beta1,
                 .beta2 = config_.adam_beta2,
                 .epsilon = config_.adam_eps,
                 .step = step,
                 .weight_type = state.type()});
}

}  // namespace runflat::exec
