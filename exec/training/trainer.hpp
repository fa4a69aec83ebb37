#pragma once

#include "core/plan.hpp"
#include "core/schedule.hpp"
#include "core/timeline.hpp"
#include "exec/communication/transport.hpp"
#include "exec/data/batch_sampler.hpp"
#include "exec/data/sample_source.hpp"
#include "exec/device/device.hpp"
#include "exec/device/profiler_ranges.hpp"
#include "exec/training/commit.hpp"
#include "exec/training/grad_sync.hpp"
#include "exec/training/job_groups.hpp"
#include "exec/training/model_chunk.hpp"
#include "exec/training/optimizer.hpp"
#include "exec/training/progress.hpp"
#include "exec/training/stage_link.hpp"
#include "exec/training/step_recorder.hpp"
#include "exec/training/tied_embedding.hpp"
#include "exec/training/trainer_config.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace runflat::exec {

/// What one step was. The sums are the same on all ranks.
struct StepResult {
  /// Other than done: the communicators are aborted, and whether the step happens is for the
  /// survivors to agree on (commit.hpp).
  SyncStatus status = SyncStatus::done;
  std::optional<JobGroup> lost;  ///< the group that failed first, as far as this rank knows
  bool is_finite = true;         ///< false: the step was refused, and nothing has changed
  StepWishes wishes;             ///< of any rank
  StepSums sums;
  double lr = 0.0;
  Clock::time_point begin{};
  Seconds time{};  ///< of the whole step, on this rank's clock
};

/// Where a trainer's first weights come from.
enum class FirstWeights : std::uint8_t {
  drawn,    ///< from the seed
  to_come,  ///< zeros: its state is brought from elsewhere
};

/// One rank of a job under one plan: builds its communicators, memory and schedule, and takes
/// steps. All ranks of the plan make one and call the same.
class Trainer {
 public:
  /// The rank is that of process `transport.process()`, a GPU of the plan. InfeasibleError where
  /// the plan cannot run; PeerLost where ranks do not come.
  Trainer(Device& device,
          Transport& transport,
          const Plan& plan,
          const TrainerConfig& config,
          std::int64_t generation = 0,
          FirstWeights weights = FirstWeights::drawn);
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

  /// `wishes`: what this rank wants after it.
  [[nodiscard]] StepResult step(const SampleSource& data, const StepWishes& wishes = {});

  /// The loss on the global batch that begins with `first_sample`; changes neither weights nor
  /// progress.
  [[nodiscard]] StepResult evaluate(const SampleSource& data, std::int64_t first_sample);

  /// How far this rank came in its last step, and the last decision that it has.
  [[nodiscard]] StepPhase phase() const { return phase_; }
  [[nodiscard]] const StepDecision& decision() const { return decision_; }
  /// Takes the update of a decided step that this rank has not taken: it holds the reduced
  /// gradients. Needs no communicator.
  void complete(const StepDecision& decision);
  /// Frees the memory of all but the optimizer state, which is moved to the next plan: nothing but
  /// stages() and progress() may be used afterwards. The groups end with the trainer: freeing them
  /// would hold up those of the next plan.
  void retire();
  /// Makes all parameters from their masters. Ends every step; all ranks call it.
  [[nodiscard]] SyncStatus distribute_params();
  /// Called at every moment of every step, from the thread that takes it.
  void watch(StepWatcher watcher) { watcher_ = std::move(watcher); }

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
  void run_schedule();
  void finish_gradients();
  void decide(const StepWishes& wishes, StepResult& result);
  void update(const StepDecision& decision, bool distributes);
  void finish_distribution();
  void at(StepMoment moment, std::int64_t index = 0);
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
  StepPhase phase_ = StepPhase::distributed;
  StepDecision decision_;
  StepWatcher watcher_;
  StepRecorder recorder_;
  ProfilerRanges ranges_;
};

}  // namespace runflat::exec
