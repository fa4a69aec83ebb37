#include "exec/job/job_worker.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "exec/checkpoint/checkpoint_folder.hpp"
#include "exec/checkpoint/checkpointer.hpp"
#include "exec/communication/nccl_transport.hpp"
#include "exec/communication/watched_transport.hpp"
#include "exec/device/make_device.hpp"
#include "exec/files/new_file.hpp"
#include "exec/job/job_faults.hpp"
#include "exec/job/job_log.hpp"
#include "exec/recovery/hang_watch.hpp"
#include "exec/recovery/rendezvous.hpp"
#include "exec/recovery/worker.hpp"
#include "exec/training/timeline_gather.hpp"
#include "exec/training/trainer.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <iostream>
#include <span>

namespace runflat::exec {
namespace {

Value header_of(const TrainConfig& config, const TrainOptions& options, const JobStart& start) {
  Value header =
      Value::Object{{"runflat", options.version},
                    {"backend", options.backend},
                    {"transport", options.transport},
                    {"world_size", config.plan.layout.num_ranks()},
                    {"checkpoint", start.checkpoint ? Value(start.checkpoint->string()) : Value()},
                    {"plan", to_value(config.plan)},
                    {"config", config.document}};
  if (options.backend == "cuda") {
    header.set("gpu", gpu_name(0));
    header.set("gpu_versions", gpu_versions());
  }
  return header;
}

class JobWorker {
 public:
  JobWorker(const TrainConfig& config,
            const TrainOptions& options,
            const TrainInput& input,
            Backend& backend,
            const JobPlace& place)
      : config_(config),
        options_(options),
        input_(input),
        backend_(backend),
        place_(place),
        faults_(
            options.faults, {.process = place.compute.process(), .life = place.life}, place.store),
        watched_(place.compute, faults_.injector().operation_watcher()),
        worker_(*backend.device, watched_, place.store, *input.train, worker_config(), hooks()),
        host_(place.host, worker_.alarm()),
        flag_(backend.device->allocate(sizeof(double))) {
    if (place.ends_on_hang) {
      hangs_.emplace(config.recovery.hang_timeout,
                     [this](const std::string& cause) { end_for(cause); });
    }
  }

  void run() {
    const WorkerEnd end = worker_.run();
    if (log_ && steps_ < config_.train_iters && end == WorkerEnd::finished) {
      log_->add_stop(steps_);
    }
    if (end == WorkerEnd::fenced) {
      throw Fenced(
          fmt::format("process {} was left out: {}", worker_.self().process, worker_.reason()));
    }
    if (end == WorkerEnd::stopped && worker_.problem().empty()) {
      throw PeerLost(worker_.reason());
    }
    if (end == WorkerEnd::stopped) {
      throw std::runtime_error(worker_.reason());
    }
  }

 private:
  [[nodiscard]] WorkerConfig worker_config() const {
    return {.plan = config_.plan,
            .trainer = config_.trainer,
            .num_steps = config_.train_iters,
            .recovery = {.in_place_deadline = config_.recovery.in_place_timeout,
                         .wait_for_spare = config_.recovery.wait_for_spare,
                         .may_restart = config_.checkpoint.save.has_value()},
            .patience = config_.recovery.join_timeout,
            .life = place_.life};
  }

  [[nodiscard]] WorkerHooks hooks() {
    return {.replan =
                [this](const Plan& current, const Health& health) {
                  return replan_in_place(config_.plan, current, health);
                },
            .should_stop =
                [this] {
                  return (place_.should_stop && place_.should_stop()) ||
                         (saver_ && saver_->has_failed());
                },
            .takes_in = [this](const Trainer& trainer,
                               const Plan& next) { return takes_in(trainer.plan(), next); },
            .restore = [this](Trainer& trainer) { restore(trainer); },
            .on_trainer = [this](Trainer& trainer,
                                 const RecoveryRecord& record) { begin(trainer, record); },
            .on_step =
                [this](Trainer& trainer, const StepResult& result) {
                  saving([&] { after_step(trainer, result); });
                },
            .on_end = [this](Trainer& trainer) { saving([&] { finish(trainer); }); },
            .on_finish = [this](const Agreement& agreement) { log_last_step(agreement); },
            .before_meeting = [this] { rest(); },
            .at =
                [this](RecoveryMoment moment) {
                  if (moment == RecoveryMoment::agreed && saver_) {
                    saver_->abort();
                    saver_.reset();
                  }
                  if (moment == RecoveryMoment::carried_out && worker_.trainer() == nullptr) {
                    log_.reset();  // it stands by
                  }
                  faults_.injector().at(moment);
                }};
  }

  template <typename Work>
  static void saving(const Work& work) {
    try {
      work();
    } catch (const SaveFailed& failure) {
      throw JobFailed(failure.what());
    }
  }

  [[nodiscard]] bool takes_in(const Plan& plan, const Plan& next) const {
    if (!config_.recovery.rejoins_when_it_pays) {
      return true;
    }
    Seconds pause = config_.recovery.rejoin_pause;
    for (const RecoveryRecord& record : worker_.recoveries()) {
      pause = record.cause == "join" ? Seconds(seconds_of(record)) : pause;
    }
    return rejoin_pays(plan, next, step_time_, config_.train_iters - steps_, pause);
  }

  /// The last checkpoint of this job, or the one that it starts from.
  void restore(Trainer& trainer) {
    const bool has_saved = config_.checkpoint.save && has_checkpoint(*config_.checkpoint.save);
    if (has_saved && worker_.generation() >= 0) {
      load_checkpoint(find_checkpoint(*config_.checkpoint.save), *backend_.device, trainer);
    } else if (input_.start.checkpoint) {
      load_checkpoint(*input_.start.checkpoint, *backend_.device, trainer);
    }
  }

  void begin(Trainer& trainer, const RecoveryRecord& record) {
    trainer.watch([this, &trainer](StepMoment moment, std::int64_t index) {
      note_progress(trainer, moment, index);
      faults_.injector().at_step(trainer, moment, index);
    });
    faults_.note_training();
    set_steps(trainer.progress().steps);
    step_time_ = {};
    if (record.rung == Rung::checkpoint) {
      check_same_start(trainer);
    }
    if (config_.eval_interval > 0) {
      next_valid_sample_ =
          steps_ / config_.eval_interval * config_.eval_iters * config_.plan.global_batch_size();
    }
    if (config_.checkpoint.save) {
      saver_.emplace(
          host_, config_.checkpoint, trainer, record.generation, [this](std::int64_t step) {
            if (log_) {
              log_->add_saved(*config_.checkpoint.save, step);
            }
          });
    }
    follow_log(trainer, record);
    if (options_.timeline) {
      recoveries_.push_back(record);
      trainer.record();
    }
  }

  void open_log(bool is_continued) {
    if (!log_) {
      log_.emplace(config_, options_.log, is_continued, std::cout);
    }
  }

  void log_completed(const Trainer& trainer, const StepDecision& decision) {
    if (decision.step == steps_ && options_.log && log_->last_step() < steps_) {
      log_->add(completed(trainer, decision));
    }
  }

  /// It belongs to the last rank.
  void follow_log(const Trainer& trainer, const RecoveryRecord& record) {
    if (trainer.rank().value() + 1 != trainer.plan().layout.num_ranks()) {
      log_.reset();
      return;
    }
    const JobStart& start = input_.start;
    const bool is_first = record.generation == 0;
    open_log(!is_first || start.progress.steps > 0);
    if (is_first) {
      log_->add_header(header_of(config_, options_, start));
      if (start.checkpoint) {
        log_->add_loaded(*start.checkpoint, start.progress.steps);
      }
      return;
    }
    log_completed(trainer, record.decision);
    recovery_ = record;
  }

  /// Where the rank that has the log was lost with the last step, the last of the others writes it.
  void log_last_step(const Agreement& agreement) {
    const Trainer* trainer = worker_.trainer();
    if (trainer == nullptr || agreement.holders.empty()) {
      return;
    }
    const ParallelLayout& layout = trainer->plan().layout;
    const std::int64_t writer = layout.gpu_of(Rank(layout.num_ranks() - 1)).value();
    const std::vector<std::int64_t>& holders = agreement.holders;
    const bool is_lost = std::find(holders.begin(), holders.end(), writer) == holders.end();
    if (place_.compute.process() == (is_lost ? holders.back() : writer)) {
      steps_ = trainer->progress().steps;
      open_log(true);
      log_completed(*trainer, agreement.decision);
    }
  }

  void after_step(Trainer& trainer, const StepResult& result) {
    step_began_ = result.begin;
    step_time_ = step_time_ > Seconds() ? std::min(step_time_, result.time) : result.time;
    set_steps(trainer.progress().steps);
    if (log_) {
      if (recovery_) {
        log_->add_recovery(*recovery_, trainer.plan(), result.time);
        recovery_.reset();
      }
      log_->add(record_of(trainer, result.sums, result.time));
    }
    if (!options_.faults.empty() && trainer.rank().value() == 0) {
      place_.store.set(kStepsKey, std::to_string(steps_));
    }
    if (options_.timeline) {
      last_step_ = trainer.take_timeline();
    }
    if (input_.valid != nullptr && steps_ % config_.eval_interval == 0) {
      validate(trainer);
    }
    if (saver_) {
      saver_->after_step(*backend_.device, trainer);
    }
    if (hangs_) {  // not in the first step, in which much is prepared
      hangs_->work([&trainer] { return trainer.is_busy(); });
      hangs_->note(steps_ + 1, "data", 0);
    }
  }

  void note_progress(const Trainer& trainer, StepMoment moment, std::int64_t index) {
    if (moment == StepMoment::end) {
      rest();
    } else if (hangs_) {
      hangs_->note(steps_ + 1, trainer.name_of(moment, index), index);
    }
  }

  void rest() {
    if (hangs_) {
      hangs_->rest();
    }
  }

  /// From another thread than the one that hangs: nothing is left to be torn down.
  [[noreturn]] void end_for(const std::string& cause) {
    mark_dead(place_.store, worker_.self(), cause, config_.recovery.hang_timeout);
    std::cerr << fmt::format("runflat: {}\n", cause) << std::flush;
    std::_Exit(EXIT_FAILURE);
  }

  void set_steps(std::int64_t steps) {
    steps_ = steps;
    faults_.set_steps(steps);
  }

  void finish(Trainer& trainer) {
    rest();
    if (log_ && recovery_) {
      log_->add_recovery(*recovery_, trainer.plan(), std::nullopt);
      recovery_.reset();
    }
    if (saver_) {
      saver_->finish(*backend_.device, trainer);
    }
    if (options_.timeline) {
      write_timeline(trainer);
    }
  }

  [[nodiscard]] StepRecord record_of(const Trainer& trainer,
                                     const StepSums& sums,
                                     std::optional<Seconds> time) const {
    const Plan& plan = trainer.plan();
    const std::int64_t batch = plan.global_batch_size();
    const std::int64_t num_ranks = plan.layout.num_ranks();
    return {.step = steps_,
            .consumed_samples = trainer.progress().consumed_samples,
            .global_batch_size = batch,
            .loss = sums.loss,
            .grad_norm = sums.grad_norm,
            .tokens = sums.tokens,
            .lr = config_.trainer.lr.at(trainer.progress().consumed_samples),
            .step_time = time,
            .num_ranks = num_ranks,
            .flops = plan.model.flops_per_sequence() * static_cast<double>(batch) /
                     static_cast<double>(num_ranks),
            .peak_flops = backend_.peak_flops};
  }

  /// A step that was decided before a failure and taken during the transition.
  [[nodiscard]] StepRecord completed(const Trainer& trainer, const StepDecision& decision) const {
    const double tokens = std::max(decision.tokens, 1.0);
    return record_of(trainer,
                     {.loss = decision.loss / tokens,
                      .tokens = decision.tokens,
                      .grad_norm = std::sqrt(decision.squared_sum) / tokens},
                     std::nullopt);
  }

  void validate(Trainer& trainer) {
    double loss = 0.0;
    double tokens = 0.0;
    for (std::int64_t i = 0; i < config_.eval_iters; ++i) {
      const StepResult result = trainer.evaluate(*input_.valid, next_valid_sample_);
      check(result.status);
      next_valid_sample_ += config_.plan.global_batch_size();
      loss += result.sums.loss * result.sums.tokens;
      tokens += result.sums.tokens;
    }
    if (log_) {
      log_->add_validation(steps_, tokens > 0.0 ? loss / tokens : 0.0);
    }
  }

  /// The largest value of all ranks, on all of them.
  double max_of_ranks(Trainer& trainer, double value) {
    Communicator* world = trainer.groups().world.get();
    if (world != nullptr) {
      backend_.device->copy_in(flag_.data(), &value, sizeof value);
      world->join(world->all_reduce(flag_.data(), 1, DataType::fp64, ReduceOp::max));
      backend_.device->copy_out(&value, flag_.data(), sizeof value);
      check(world->status());
    }
    return value;
  }

  /// Hosts that do not see the same folder may find different checkpoints in it.
  void check_same_start(Trainer& trainer) {
    const auto own = static_cast<double>(trainer.progress().steps);
    const double most = max_of_ranks(trainer, own);
    const double least = -max_of_ranks(trainer, -own);
    if (least != most) {
      throw ParseError(
          config_.checkpoint.load.value_or(config_.checkpoint.save.value_or("")).string(),
          "",
          fmt::format("ranks find steps {} to {} in it: expected one folder for all", least, most));
    }
  }

  /// The last step from its start, and before it what the transitions of this run were.
  void write_timeline(Trainer& trainer) {
    for (const RecoveryRecord& record : recoveries_) {
      add_spans(record, trainer.rank(), Seconds(record.noticed - step_began_), last_step_);
    }
    Communicator* world = trainer.groups().world.get();
    const Timeline all = gather_timeline(*backend_.device, world, last_step_);
    check(trainer.groups().status());
    if (log_) {
      const std::string trace = to_chrome_trace(all);
      NewFile file(*options_.timeline);
      file.write(std::as_bytes(std::span(trace)));
      file.publish();
    }
  }

  static void check(SyncStatus status) {
    if (status != SyncStatus::done) {
      throw PeerLost("between two steps");
    }
  }

  const TrainConfig& config_;
  const TrainOptions& options_;
  const TrainInput& input_;
  Backend& backend_;
  const JobPlace& place_;
  std::int64_t steps_ = 0;
  JobFaults faults_;
  WatchedTransport watched_;
  std::optional<JobLog> log_;
  std::optional<JobSaver> saver_;
  Worker worker_;
  AlarmedTransport host_;
  Buffer flag_;                             // a double
  std::optional<RecoveryRecord> recovery_;  // not yet in the log
  std::vector<RecoveryRecord> recoveries_;
  std::int64_t next_valid_sample_ = 0;
  Clock::time_point step_began_;  // the last
  Seconds step_time_{};           // the shortest under this plan
  Timeline last_step_;
  std::optional<HangWatch> hangs_;
};

}  // namespace

void run_job_worker(const TrainConfig& config,
                    const TrainOptions& options,
                    const TrainInput& input,
                    Backend& backend,
                    const JobPlace& place) {
  JobWorker(config, options, input, backend, place).run();
}

}  // namespace runflat::exec
