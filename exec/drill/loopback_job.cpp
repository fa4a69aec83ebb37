#include "exec/drill/loopback_job.hpp"

#include "exec/checkpoint/checkpointer.hpp"
#include "exec/communication/loopback_communicator.hpp"
#include "exec/device/host_device.hpp"
#include "exec/recovery/fault_injector.hpp"
#include "exec/store/memory_store.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

namespace runflat::exec {
namespace {

constexpr std::chrono::milliseconds kPoll{1};

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

Clock::time_point after(Clock::time_point begin, double seconds) {
  return begin +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

/// Calls `on_late` unless it is stopped in time.
class Watchdog {
 public:
  Watchdog(std::chrono::milliseconds time, const std::function<void()>& on_late)
      : thread_([this, on_late, deadline = deadline_in(time)] {
          std::unique_lock lock(mutex_);
          if (!over_.wait_until(lock, deadline, [this] { return is_over_; })) {
            is_late_ = true;
            on_late();
          }
        }) {}
  ~Watchdog() {
    if (thread_.joinable()) {
      static_cast<void>(stop());
    }
  }

  /// Whether the run was in time.
  [[nodiscard]] bool stop() {
    {
      const std::lock_guard lock(mutex_);
      is_over_ = true;
    }
    over_.notify_all();
    thread_.join();
    return !is_late_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable over_;
  bool is_over_ = false;
  bool is_late_ = false;
  std::thread thread_;
};

/// One process's part in saving and loading the job's checkpoints.
class Saver {
 public:
  Saver(const LoopbackJob& job, Device& device, Transport& transport)
      : job_(job), device_(device), transport_(transport) {}
  Saver(const Saver&) = delete;
  Saver& operator=(const Saver&) = delete;
  ~Saver() { stop(); }

  void start(const Trainer& trainer, std::int64_t generation) {
    if (job_.save_interval > 0) {
      checkpointer_ = std::make_unique<Checkpointer>(
          transport_,
          trainer.plan().layout,
          CheckpointerConfig{.folder = job_.checkpoints,
                             .generation = generation,
                             .timeout = job_.worker.trainer.timeout});
    }
  }

  void after_step(Trainer& trainer) {
    if (checkpointer_ && trainer.progress().steps % job_.save_interval == 0) {
      checkpointer_->save(device_, trainer);
      checkpointer_->wait();
    }
  }

  /// Gives up what is being saved: nothing becomes visible any more.
  void stop() {
    if (checkpointer_) {
      checkpointer_->abort();
      checkpointer_.reset();
    }
  }

  /// The last checkpoint; without one the trainer stays at the beginning.
  void load(Trainer& trainer) {
    if (std::filesystem::exists(job_.checkpoints / "latest")) {
      load_checkpoint(find_checkpoint(job_.checkpoints), device_, trainer);
    }
  }

 private:
  const LoopbackJob& job_;
  Device& device_;
  Transport& transport_;
  std::unique_ptr<Checkpointer> checkpointer_;
};

/// What the threads of a job share.
class Job {
 public:
  Job(const LoopbackJob& job, const SampleSource& data) : job_(job), data_(data) {}

  [[nodiscard]] JobOutcome run() {
    Watchdog watchdog(job_.deadline, [this] {
      is_over_ = true;
      store_.close("the run is not over at its deadline");  // nobody meets anybody any more
    });
    const std::vector<std::int64_t> processes = processes_of(job_.worker.plan);
    num_alive_ = std::ssize(processes);
    spawn(processes, [this](ThreadRank& thread) { live(thread); });
    outcome_.is_in_time = watchdog.stop();
    if (!is_over_) {
      outcome_.reason = "no worker is left";
    }
    outcome_.unequal_steps.assign(unequal_.begin(), unequal_.end());
    std::stable_sort(outcome_.recoveries.begin(),
                     outcome_.recoveries.end(),
                     [](const RecoveryRecord& a, const RecoveryRecord& b) {
                       return a.generation < b.generation;
                     });
    for (const auto& [generation, span] : spans_) {
      append_span(outcome_.spans, span);
    }
    for (Strike& strike : strikes_) {
      outcome_.faults.push_back(what_followed(strike));
    }
    return std::move(outcome_);
  }

 private:
  struct Strike {
    InjectedFault fault;
    std::int64_t life = 1;
    Clock::time_point when;
  };

  /// All lives of a process.
  void live(ThreadRank& thread) {
    std::vector<InjectedFault> faults = job_.faults;
    std::erase_if(faults, [&](const InjectedFault& fault) {
      return fault.rank != thread.transport.process();
    });
    Member self;
    std::optional<InjectedFault> last;  // that struck
    FaultInjector injector(std::move(faults),
                           {.kill = [] { throw RankDeath{}; },
                            .hang = [&](double seconds) { hang(self, seconds); },
                            .on_fault =
                                [&](const InjectedFault& fault) {
                                  last = fault;
                                  const std::lock_guard lock(mutex_);
                                  strikes_.push_back({fault, self.life, Clock::now()});
                                },
                            .elapsed = [this] { return Seconds(Clock::now() - begin_); }});
    while (live_once(thread, injector, self) && last && last->repair_steps > 0) {
      const std::int64_t back_at = num_steps_ + last->repair_steps;
      --num_alive_;
      while (num_steps_ < back_at && !is_waiting() && num_alive_ > 0 && !is_over_) {
        std::this_thread::sleep_for(kPoll);
      }
      ++num_alive_;
      thread.begin_life();
    }
    --num_alive_;
  }

  /// One life; whether the others have gone on without it.
  [[nodiscard]] bool live_once(ThreadRank& thread, FaultInjector& injector, Member& self) {
    HostDevice device;
    WatchedTransport transport(thread.transport, injector.operation_watcher());
    Saver saver(job_, device, thread.transport);
    bool is_lost = true;
    try {
      Worker worker(device,
                    transport,
                    store_,
                    data_,
                    job_.worker,
                    {.replan = job_.replan,
                     .should_stop = {},
                     .takes_in = {},
                     .restore = [&](Trainer& trainer) { saver.load(trainer); },
                     .on_trainer =
                         [&](Trainer& trainer, const RecoveryRecord& record) {
                           std::call_once(has_begun_, [this] { begin_ = Clock::now(); });
                           note(trainer, record.generation);
                           injector.watch(trainer);
                           saver.start(trainer, record.generation);
                         },
                     .on_step =
                         [&](Trainer& trainer, const StepResult&) {
                           note(trainer.progress().steps);
                           saver.after_step(trainer);
                         },
                     .on_end = {},
                     .on_finish = {},
                     .before_meeting = {},
                     .at =
                         [&](RecoveryMoment moment) {
                           if (moment == RecoveryMoment::agreed) {
                             saver.stop();
                           }
                           injector.at(moment);
                         }});
      self = worker.self();
      try {
        const WorkerEnd end = worker.run();
        is_lost = end == WorkerEnd::fenced;
        note(worker, end);
      } catch (const RankDeath&) {
        note(worker, WorkerEnd::fenced);
      }
    } catch (const StoreError&) {
      is_over_ = true;  // too late
    } catch (...) {
      is_over_ = true;
      saver.stop();
      thread.end_life();
      mark_dead(store_, self, "an error");
      throw;
    }
    saver.stop();
    thread.end_life();
    if (!is_over_ && is_lost) {
      mark_dead(store_, self, "on demand");
    }
    return is_lost && !is_over_;
  }

  void hang(const Member& self, double seconds) {
    const Clock::time_point begin = Clock::now();
    while (!is_over_) {
      const bool is_long_enough =
          seconds > 0.0 ? Clock::now() >= after(begin, seconds) : has_been_left_out(self);
      if (is_long_enough) {
        return;
      }
      std::this_thread::sleep_for(kPoll);
    }
  }

  /// Whether the job takes no step until somebody comes.
  [[nodiscard]] bool is_waiting() {
    const std::optional<Agreement> last = last_agreement(store_);
    return last && last->rung == Rung::wait;
  }

  [[nodiscard]] bool has_been_left_out(const Member& self) {
    const std::optional<Agreement> last = last_agreement(store_);
    return last && !last->has_member(self);
  }

  void note(std::int64_t steps) {
    std::int64_t before = num_steps_;
    while (before < steps && !num_steps_.compare_exchange_weak(before, steps)) {
    }
  }

  void note(const Trainer& trainer, std::int64_t generation) {
    const std::lock_guard lock(mutex_);
    spans_.try_emplace(generation,
                       PlanSpan{.steps = trainer.progress().steps, .plan = trainer.plan()});
  }

  void note(const Worker& worker, WorkerEnd end) {
    const std::lock_guard lock(mutex_);
    for (const auto& [step, loss] : worker.losses()) {
      const auto [known, is_new] = outcome_.losses.emplace(step, loss);
      if (!is_new && known->second != loss) {
        unequal_.insert(step);
      }
    }
    outcome_.recoveries.insert(
        outcome_.recoveries.end(), worker.recoveries().begin(), worker.recoveries().end());
    if (end != WorkerEnd::fenced) {
      outcome_.end = end;
      outcome_.reason = worker.reason();
      is_over_ = true;
    }
  }

  /// The first transition that was noticed after a fault, or came to an end after it.
  [[nodiscard]] FaultRecord what_followed(const Strike& strike) const {
    FaultRecord record;
    record.fault = strike.fault;
    record.life = strike.life;
    record.reason = outcome_.end == WorkerEnd::finished ? "the others had finished"
                                                        : "stopped: " + outcome_.reason;
    if (strike.fault.kind == FaultKind::slow) {
      record.reason = "nobody waited too long";
      return record;
    }
    if (strike.fault.kind == FaultKind::nan || strike.fault.kind == FaultKind::corrupt) {
      record.reason = "a step that is not finite is refused and redone";
      return record;
    }
    std::optional<std::int64_t> generation;
    for (const RecoveryRecord& recovery : outcome_.recoveries) {
      const bool is_later = after(recovery.noticed, recovery.carried_out) > strike.when;
      if (!is_later || (generation && *generation != recovery.generation)) {
        continue;
      }
      generation = recovery.generation;
      const double noticed = std::max(0.0, seconds_between(strike.when, recovery.noticed));
      record.detected = std::min(record.detected.value_or(noticed), noticed);
      record.recovered =
          std::max(record.recovered.value_or(0.0),
                   seconds_between(strike.when, after(recovery.noticed, recovery.carried_out)));
      record.rung = recovery.rung;
      record.reason = recovery.reason;
    }
    return record;
  }

  const LoopbackJob& job_;
  const SampleSource& data_;
  MemoryStore store_;
  std::mutex mutex_;
  std::once_flag has_begun_;
  Clock::time_point begin_;  // of the first step
  std::atomic<std::int64_t> num_steps_ = 0;
  std::atomic<std::int64_t> num_alive_ = 0;  // processes in some life
  std::atomic<bool> is_over_ = false;
  std::vector<Strike> strikes_;
  std::map<std::int64_t, PlanSpan> spans_;  // by generation
  std::set<std::int64_t> unequal_;
  JobOutcome outcome_;
};

}  // namespace

JobOutcome run_loopback_job(const LoopbackJob& job, const SampleSource& data) {
  return Job(job, data).run();
}

}  // namespace runflat::exec
