#pragma once

#include "core/schedule.hpp"
#include "core/timeline.hpp"
#include "core/units.hpp"
#include "sim/step_terms.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace runflat::sim {

/// A replica to play: what its stages do, and what each op takes.
struct ReplicaRun {
  const StepSchedule* schedule = nullptr;
  const StepTerms* terms = nullptr;
  std::span<const double> slowdown = {};  ///< of each stage's compute, 1 where nothing straggles;
                                          ///< empty: nowhere
};

/// What one stage of one replica did.
struct StageRun {
  Seconds end{};      ///< of its last op
  Seconds compute{};  ///< in forwards and backwards
  Seconds sync{};     ///< in visible synchronisation and the optimizer

  [[nodiscard]] Seconds idle() const { return end - compute - sync; }
};

struct StepRun {
  Seconds step_time{};
  std::vector<StageRun> stages;  ///< replica by replica
};

/// Plays step schedules op by op under the rules of core/schedule.hpp. Replicas meet at their
/// reductions and gathers: a stage's bucket goes on when every replica has come to it. Where the
/// release overlaps pipeline sends, compute goes on beside them and waits for what it needs;
/// elsewhere a group of sends and receives blocks until all of it is over. Gradient ops run after
/// the stage's last backward and last as long as they stay visible. One object plays any number of
/// steps and reuses its memory.
class StepSimulator {
 public:
  /// All replicas must have the same stages, and schedules that `check_schedule` and
  /// `check_collective_order` pass; InvalidArgument where they wait for each other for ever. The
  /// timeline, where given, receives the spans; its ranks are replica * num_stages + stage. The
  /// result is valid until the next call.
  const StepRun& run(std::span<const ReplicaRun> replicas, Timeline* timeline = nullptr);

 private:
  /// Messages of one kind that one stage sends to the next (activations) or previous (gradients).
  struct Channel {
    std::size_t num_sent = 0;
    std::size_t num_received = 0;
    std::int32_t waiter = -1;  ///< worker that cannot go on before the other end posts
  };
  struct Message {
    std::size_t channel = 0;
    std::size_t number = 0;
  };
  /// A stage of a replica.
  struct Worker {
    std::span<const ScheduleOp> ops;
    std::size_t next = 0;
    std::size_t next_gradient_op = 0;
    double now = 0.0;
    double forward_end = 0.0;  ///< of its latest forward
    double backward_end = 0.0;
    std::int32_t replica = 0;
    std::int32_t stage = 0;
    std::size_t num_met = 0;
    bool has_posted = false;   ///< its present group of sends and receives
    bool has_arrived = false;  ///< at its present meeting
    bool has_stepped = false;  ///< the optimizer
    std::array<Message, 4> posted{};
  };
  /// Durations of a replica's ops in seconds, straggling included. Sync is that of one bucket.
  struct Durations {
    std::vector<double> forward;  ///< by stage and virtual stage
    std::vector<double> backward;
    double send = 0.0;
    bool blocks = true;
    double optimizer = 0.0;
    double reduce = 0.0;
    double gather = 0.0;
    double reshard_in = 0.0;
    double reshard_out = 0.0;
  };
  /// Replicas that have come to the same reduction or gather of a stage.
  struct Meeting {
    std::size_t num_arrived = 0;
    double latest = 0.0;
  };

  void prepare(std::span<const ReplicaRun> replicas);
  static void fill(const ReplicaRun& replica, Durations& durations);
  void advance(std::size_t index);
  bool do_compute(std::size_t index, Worker& worker, const ScheduleOp& op);
  bool wait_for_input(std::size_t index, const Worker& worker, const ScheduleOp& op, double& ready);
  bool do_group(std::size_t index, Worker& worker);
  void post_group(std::size_t index, Worker& worker, std::size_t end);
  bool do_optimizer(std::size_t index, Worker& worker);
  bool do_sync(std::size_t index, Worker& worker, const ScheduleOp& op);
  bool meet(std::size_t index, Worker& worker, double& begin);
  void wake(Channel& channel);
  void record(const Worker& worker, const ScheduleOp& op, Stream stream, double begin, double end);

  [[nodiscard]] std::size_t slot_of(const ScheduleOp& op) const;
  [[nodiscard]] std::size_t sender_channel(const Worker& worker, std::size_t way) const;

  std::size_t num_stages_ = 0;
  std::size_t num_vp_stages_ = 0;
  std::size_t max_messages_ = 0;  ///< of a channel
  std::vector<Durations> durations_;
  std::vector<Worker> workers_;
  std::vector<Channel> channels_;  ///< by sending worker: activations, gradients
  std::vector<double> sent_at_;    ///< by channel and message; negative: not yet
  std::vector<double> received_at_;
  std::vector<std::int32_t> input_at_;  ///< by receiving worker, kind, virtual microbatch
  std::vector<Meeting> meetings_;       ///< by place in the order of meetings, and stage
  std::vector<std::int32_t> runnable_;
  Timeline* timeline_ = nullptr;
  StepRun result_;
};

/// The schedule that a query's replica runs.
[[nodiscard]] StepSchedule schedule_of(const StepQuery& query, int num_buckets = 1);

}  // namespace runflat::sim
