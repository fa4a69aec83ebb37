#pragma once

#include "core/plan.hpp"
#include "core/replan.hpp"
#include "exec/communication/transport.hpp"
#include "exec/data/sample_source.hpp"
#include "exec/device/device.hpp"
#include "exec/recovery/alarm.hpp"
#include "exec/recovery/recovery.hpp"
#include "exec/recovery/recovery_record.hpp"
#include "exec/recovery/rendezvous.hpp"
#include "exec/recovery/state_transfer.hpp"
#include "exec/store/store.hpp"
#include "exec/training/trainer.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace runflat::exec {

/// A job whose workers may come and go.
struct WorkerConfig {
  Plan plan;  ///< of the undamaged job
  TrainerConfig trainer{};
  std::int64_t num_steps = 0;
  RecoveryPolicy recovery{};
  /// How long a meeting waits for workers that are not known to be dead.
  std::chrono::milliseconds patience{60'000};
  std::int64_t life = 0;           ///< of this process, begun by whoever started it; 0: the next
  std::int64_t most_refusals = 3;  ///< of one step, whose sums are not finite, before the job stops
};

/// Points of a transition, for whoever watches a worker or disturbs it.
enum class RecoveryMoment : std::uint8_t { agreed, connected, moved, distributed, carried_out };

/// A hook throws it to end the job, on all workers, for a reason.
class JobFailed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What the program around a worker does at points of its life. Those that are given a trainer may
/// throw PeerLost, and JobFailed.
struct WorkerHooks {
  Replanner replan;
  /// Whether this worker was asked to end the job.
  std::function<bool()> should_stop;
  /// Whether the plan that would follow if those who wait to join were taken in, which differs from
  /// that of the trainer, is worth a transition; without it it always is.
  std::function<bool(const Trainer& trainer, const Plan& next)> takes_in;
  /// Brings the last checkpoint into a trainer; nullptr: the job can only begin again.
  std::function<void(Trainer& trainer)> restore;
  /// A trainer is about to take its first step.
  std::function<void(Trainer& trainer, const RecoveryRecord& record)> on_trainer;
  /// A step is taken; not called for those that a transition completed.
  std::function<void(Trainer& trainer, const StepResult& result)> on_step;
  /// All steps are taken, or some worker was asked to end the job.
  std::function<void(Trainer& trainer)> on_end;
  /// All agree that the job has come to its end; its last step may have been completed only now.
  std::function<void(const Agreement& agreement)> on_finish;
  /// It is about to meet the others; its trainer lives on.
  std::function<void()> before_meeting;
  std::function<void(RecoveryMoment moment)> at;
};

enum class WorkerEnd : std::uint8_t {
  finished,
  stopped,  ///< nothing goes on, for the reason in the last agreement
  fenced,   ///< the others went on without it
};

/// One process of a job for its life: trains under one plan after another, or stands by where a
/// plan has no rank for it. When its communicators fail, or somebody asks to join, it meets the
/// others, and they go on together from the last step that was decided.
///
/// Who stands by disturbs nobody: its loss is noticed when all meet for another reason, and who
/// comes without changing the plan waits for that too.
///
/// The optimizer state of the old plan is kept until all have that of the next one: a failure
/// during the transition only makes them meet again.
class Worker {
 public:
  Worker(Device& device,
         Transport& transport,
         Store& store,
         const SampleSource& data,
         const WorkerConfig& config,
         WorkerHooks hooks);

  [[nodiscard]] WorkerEnd run();

  [[nodiscard]] const Member& self() const { return rendezvous_.self(); }
  /// The mean loss of every step that this worker took part in or completed.
  [[nodiscard]] const std::map<std::int64_t, double>& losses() const { return losses_; }
  [[nodiscard]] const std::vector<RecoveryRecord>& recoveries() const { return recoveries_; }
  /// Why the job ended.
  [[nodiscard]] const std::string& reason() const { return reason_; }
  /// What this worker ended the job for, or would have; empty: nothing.
  [[nodiscard]] const std::string& problem() const { return problem_; }
  /// The agreement whose plan it trains under; -1: none yet.
  [[nodiscard]] std::int64_t generation() const { return current_.generation; }
  [[nodiscard]] const Alarm& alarm() const { return alarm_; }
  /// nullptr where this worker stands by.
  [[nodiscard]] Trainer* trainer() { return current_.trainer.get(); }

 private:
  /// What this worker does under one agreement.
  struct Tenure {
    std::int64_t generation = -1;
    std::unique_ptr<Trainer> trainer;
  };

  void warm_up();
  [[nodiscard]] Agreement meet();
  [[nodiscard]] Standing standing() const;
  void adopt(const Agreement& agreement, RecoveryRecord& record);
  [[nodiscard]] bool carry_out(const Agreement& agreement,
                               const std::vector<Member>& participants,
                               RecoveryRecord& record);
  [[nodiscard]] std::unique_ptr<Trainer> make_trainer(const Agreement& agreement);
  [[nodiscard]] SyncStatus bring_state(const Agreement& agreement,
                                       Communicator* group,
                                       const std::vector<std::int64_t>& members,
                                       Trainer* next,
                                       RecoveryRecord& record);
  void train();
  [[nodiscard]] bool take_steps(Trainer& trainer);
  [[nodiscard]] bool takes_in(const Trainer& trainer);
  void stand_by(const Agreement& agreement);
  void wait_for_others();
  void notice();
  [[nodiscard]] double seconds_since_notice() const;
  void watch(const std::vector<Member>& members);
  void at(RecoveryMoment moment) const;

  Device& device_;
  Store& store_;
  Alarm alarm_;
  AlarmedTransport transport_;
  const SampleSource& data_;
  WorkerConfig config_;
  WorkerHooks hooks_;
  Rendezvous rendezvous_;
  std::int64_t next_meeting_ = 0;
  std::vector<Member> expected_;  // at the next meeting
  Arrival arrival_ = Arrival::due;
  bool was_member_ = false;
  bool is_warm_ = false;
  bool has_ended_ = false;  // the job, before this worker came
  Tenure current_;
  Tenure pending_;  // carried out, but maybe not by all
  std::atomic<bool> have_newcomers_changed_ = false;
  std::optional<Plan> plan_with_newcomers_;  // where it is another one
  std::optional<Clock::time_point> waiting_since_;
  bool is_over_ = false;
  std::int64_t num_refusals_ = 0;
  std::string problem_;
  std::string reason_;
  std::optional<Clock::time_point> first_sign_;  // of a loss
  Clock::time_point noticed_;
  std::map<std::int64_t, double> losses_;
  std::vector<RecoveryRecord> recoveries_;
};

}  // namespace runflat::exec
