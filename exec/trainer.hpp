#pragma once

#include "core/plan.hpp"
#include "core/schedule.hpp"
#include "core/timeline.hpp"
#include "exec/batch_sampler.hpp"
#include "exec/device.hpp"
#include "exec/grad_sync.hpp"
#include "exec/job_groups.hpp"
#include "exec/lr_schedule.hpp"
#include "exec/model_chunk.hpp"
#include "exec/optimizer.hpp"
#include "exec/progress.hpp"
#include "exec/sample_source.hpp"
#include "exec/stage_link.hpp"
#include "exec/step_recorder.hpp"
#include "exec/tied_embedding.hpp"
#include "exec/transport.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

namespace runflat::exec {

/// How a job trains, beside its plan.
struct TrainerConfig {
  OptimizerConfig optimizer;
  LrSchedule lr;
  std::uint64_t seed = 1234;
  DataType type = DataType::fp32;  ///< of weights and activations
  std::int64_t num_buckets = 2;    ///< of gradients, for every virtual stage
  bool redundancy = false;  ///< with ZeRO-1: a copy of every optimizer slice on another replica
  bool deterministic = false;
  double rotary_base = 10000.0;
  double norm_epsilon = 1e-5;
  std::chrono::milliseconds timeout{600'000};  ///< of any communication
};

/// What one step was. The sums are the same on all ranks.
struct StepResult {
  SyncStatus status = SyncStatus::done;  ///< other than done: the step did not happen
  bool is_finite = true;                 ///< false: nor did it then
  StepSums sums;
  double lr = 0.0;
};

/// One rank of a job under one plan: builds its communicators, memory and schedule, and takes
/// steps. All ranks of the plan make one and call the same.
class Trainer {
 public:
  /// The rank is that of process `transport.process()`, a GPU of the plan. Weights are drawn from
  /// the seed. InfeasibleError where the plan cannot run; PeerLost where ranks do not come.
  Trainer(Device& device,
          Transport& transport,
          const Plan& plan,
          const TrainerConfig& config,
          std::int64_t generation = 0);
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;
  ~Trainer();

  [[nodiscard]] Rank rank() const { return rank_; }
  [[nodiscard]] const Plan& plan() const { return plan_; }
  [[nodiscard]] const TrainerConfig& config() const { return config_; }
  [[nodiscard]] const Progress& progress() const { return progress_; }
  void set_progress(const Progress& progress) { progress_ = progress; }
  [[nodiscard]] JobGroups& groups() { return groups_; }
  [[nodiscard]] std::vector<std::unique_ptr<StageState>>& stages() { return states_; }

  [[nodiscard]] StepResult step(const SampleSource& data);
  /// The loss on the global batch that begins with `first_sample`; changes neither weights nor
  /// progress.
  [[nodiscard]] StepResult evaluate(const SampleSource& data, std::int64_t first_sample);

  /// From now on, notes what happens when; take_timeline() gives the spans of the last step, with
  /// times from its start.
  void record() { recorder_.start(groups_); }
  [[nodiscard]] Timeline take_timeline() {
    return recorder_.take_timeline(rank_, device_, groups_);
  }

 private:
  /// A microbatch between its arrival on a virtual stage and the end of its backward pass there.
  struct Slot {
    std::int32_t microbatch = -1;
    ChunkActivations act;
  };
  struct Chunk {
    std::unique_ptr<ModelChunk> model;
    std::unique_ptr<GradSync> sync;
    std::unique_ptr<TiedEmbedding> tied;
    std::vector<Slot> slots;
  };

  void make_chunks();
  [[nodiscard]] StagePlace place_of(std::int64_t vp_stage) const;
  [[nodiscard]] std::size_t num_slots(std::int16_t vp_stage) const;
  void load(const SampleSource& data, std::int64_t first_sample);
  void load_microbatch(const SampleSource& data, std::int64_t first_sample, std::int64_t index);
  [[nodiscard]] Slot& slot_of(const ScheduleOp& op);
  void free_slot(const ScheduleOp& op);
  void run(const ScheduleOp& op);
  void run_forward(const ScheduleOp& op);
  void run_backward(const ScheduleOp& op);
  void run_evaluation(const ScheduleOp& op);
  void exchange(std::span<const ScheduleOp> group);
  void finish_gradients();
  [[nodiscard]] double local_loss();
  [[nodiscard]] double local_tokens() const;

  Device& device_;
  Plan plan_;
  TrainerConfig config_;
  Rank rank_;
  Coordinate me_;
  JobGroups groups_;
  BatchSampler sampler_;
  StepSchedule schedule_;
  TensorParallel tp_;
  LayerRunner layers_;
  std::vector<std::unique_ptr<StageState>> states_;  // by virtual stage
  std::vector<Chunk> chunks_;                        // by virtual stage
  std::vector<Microbatch> microbatches_;
  double tokens_ = 0.0;  // of this rank's microbatches
  std::unique_ptr<Optimizer> optimizer_;
  Progress progress_;
  StepRecorder recorder_;
};

}  // namespace runflat::exec
