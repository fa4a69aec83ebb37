#include "exec/train_job.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "exec/checkpointer.hpp"
#include "exec/job_log.hpp"
#include "exec/make_device.hpp"
#include "exec/new_file.hpp"
#include "exec/timeline_gather.hpp"
#include "exec/trainer.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
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

/// A group that lost a member, and its ranks.
std::string lost_group(JobGroup group, const ParallelLayout& layout, Rank rank) {
  const Coordinate me = layout.coordinate_of(rank);
  const auto text = [&](const char* name, auto is_member) {
    std::vector<std::int64_t> members;
    for (std::int64_t other = 0; other < layout.num_ranks(); ++other) {
      if (is_member(layout.coordinate_of(Rank(other)))) {
        members.push_back(other);
      }
    }
    return fmt::format("{} group (ranks {})", name, fmt::join(members, ", "));
  };
  switch (group) {
    case JobGroup::tp:
      return text("tp", [&](const Coordinate& at) { return at.cell() == me.cell(); });
    case JobGroup::dp:
      return text("dp", [&](const Coordinate& at) { return at.tp == me.tp && at.pp == me.pp; });
    case JobGroup::mp:
      return text("mp", [&](const Coordinate& at) { return at.dp == me.dp && at.cp == me.cp; });
    case JobGroup::world:
      break;
  }
  return text("world", [](const Coordinate& /*at*/) { return true; });
}

/// One rank of a job while it trains.
class TrainRank {
 public:
  TrainRank(const TrainConfig& config,
            const TrainOptions& options,
            const TrainInput& input,
            Backend& backend,
            const RankTransports& transports)
      : config_(config),
        options_(options),
        input_(input),
        backend_(backend),
        trainer_(*backend.device,
                 transports.compute,
                 config.plan,
                 config.trainer,
                 0,
                 input.start.checkpoint ? FirstWeights::to_come : FirstWeights::drawn),
        flag_(backend.device->allocate(sizeof(double))) {
    const JobStart& start = input.start;
    if (start.checkpoint) {
      load_checkpoint(*start.checkpoint, *backend.device, trainer_);
    }
    check_same_start();
    if (config.eval_interval > 0) {
      next_valid_sample_ = start.progress.steps / config.eval_interval * config.eval_iters *
                           config.plan.global_batch_size();
    }
    if (config.checkpoint.save) {
      saver_.emplace(transports.host, config.checkpoint, trainer_, [this](std::int64_t step) {
        if (log_) {
          log_->add_saved(*config_.checkpoint.save, step);
        }
      });
    }
    open_log();
    if (options.timeline) {
      trainer_.record();
    }
  }

  void run(const std::function<bool()>& should_stop) {
    bool is_over = trainer_.progress().steps >= config_.train_iters;
    while (!is_over) {
      step();
      const std::int64_t steps = trainer_.progress().steps;
      if (input_.valid != nullptr && steps % config_.eval_interval == 0) {
        validate();
      }
      if (saver_) {
        saver_->after_step(*backend_.device, trainer_);
      }
      const bool cannot_save = saver_ && saver_->has_failed();
      const bool is_stopped = any_rank(should_stop() || cannot_save);
      is_over = is_stopped || steps == config_.train_iters;
    }
    if (saver_) {
      saver_->finish(*backend_.device, trainer_);
    }
    if (log_ && trainer_.progress().steps < config_.train_iters) {
      log_->add_stop(trainer_.progress().steps);
    }
    if (options_.timeline) {
      write_timeline();
    }
    static_cast<void>(any_rank(false));  // nobody leaves before the others are done with it
  }

 private:
  void open_log() {
    if (trainer_.rank().value() + 1 != config_.plan.layout.num_ranks()) {
      return;
    }
    const JobStart& start = input_.start;
    log_.emplace(config_,
                 options_.log,
                 header_of(config_, options_, start),
                 start.progress.steps > 0,
                 std::cout);
    if (start.checkpoint) {
      log_->add_loaded(*start.checkpoint, start.progress.steps);
    }
  }

  void step() {
    const Clock::time_point begin = Clock::now();
    const StepResult result = trainer_.step(*input_.train);
    const Seconds time = Clock::now() - begin;
    check(result.status, result.lost);
    if (!result.is_finite) {
      throw std::runtime_error(fmt::format(
          "step {}: the loss is {} and the gradient's norm {}; the weights are those of step {}",
          trainer_.progress().steps + 1,
          result.sums.loss,
          result.sums.grad_norm,
          trainer_.progress().steps));
    }
    if (options_.timeline) {
      last_step_ = trainer_.take_timeline();
    }
    if (log_) {
      log_->add(record_of(result, time));
    }
  }

  [[nodiscard]] StepRecord record_of(const StepResult& result, Seconds time) const {
    const Plan& plan = config_.plan;
    const std::int64_t batch = plan.global_batch_size();
    return {.step = trainer_.progress().steps,
            .consumed_samples = trainer_.progress().consumed_samples,
            .global_batch_size = batch,
            .loss = result.sums.loss,
            .grad_norm = result.sums.grad_norm,
            .tokens = result.sums.tokens,
            .lr = config_.trainer.lr.at(trainer_.progress().consumed_samples),
            .step_time = time,
            .flops = plan.model.flops_per_sequence() * static_cast<double>(batch) /
                     static_cast<double>(plan.layout.num_ranks()),
            .peak_flops = backend_.peak_flops};
  }

  void validate() {
    double loss = 0.0;
    double tokens = 0.0;
    for (std::int64_t i = 0; i < config_.eval_iters; ++i) {
      const StepResult result = trainer_.evaluate(*input_.valid, next_valid_sample_);
      check(result.status, trainer_.groups().lost());
      next_valid_sample_ += config_.plan.global_batch_size();
      loss += result.sums.loss * result.sums.tokens;
      tokens += result.sums.tokens;
    }
    if (log_) {
      log_->add_validation(trainer_.progress().steps, tokens > 0.0 ? loss / tokens : 0.0);
    }
  }

  /// The largest value of all ranks, on all of them.
  double max_of_ranks(double value) {
    Communicator* world = trainer_.groups().world.get();
    if (world != nullptr) {
      backend_.device->copy_in(flag_.data(), &value, sizeof value);
      world->join(world->all_reduce(flag_.data(), 1, DataType::fp64, ReduceOp::max));
      backend_.device->copy_out(&value, flag_.data(), sizeof value);
      check(world->status(), JobGroup::world);
    }
    return value;
  }

  /// Whether any rank says so: the same answer on all of them, at the same step.
  bool any_rank(bool own) { return max_of_ranks(own ? 1.0 : 0.0) > 0.0; }

  /// Hosts that do not see the same folder may find different checkpoints in it.
  void check_same_start() {
    const auto own = static_cast<double>(trainer_.progress().steps);
    const double most = max_of_ranks(own);
    const double least = -max_of_ranks(-own);
    if (least != most) {
      throw ParseError(
          config_.checkpoint.load->string(),
          "",
          fmt::format("ranks find steps {} to {} in it: expected one folder for all", least, most));
    }
  }

  void write_timeline() {
    Communicator* world = trainer_.groups().world.get();
    const Timeline all = gather_timeline(*backend_.device, world, last_step_);
    check(trainer_.groups().status(), trainer_.groups().lost());
    if (log_) {
      const std::string trace = to_chrome_trace(all);
      NewFile file(*options_.timeline);
      file.write(std::as_bytes(std::span(trace)));
      file.publish();
    }
  }

  void check(SyncStatus status, std::optional<JobGroup> lost) {
    if (status != SyncStatus::done) {
      if (saver_) {
        saver_->abort();  // what is in flight would wait for the lost rank
      }
      throw PeerLost(fmt::format(
          "rank {} lost a peer of its {}{} after step {}",
          trainer_.rank().value(),
          lost_group(lost.value_or(JobGroup::world), config_.plan.layout, trainer_.rank()),
          status == SyncStatus::timed_out ? " (it did not answer in time)" : "",
          trainer_.progress().steps));
    }
  }

  const TrainConfig& config_;
  const TrainOptions& options_;
  const TrainInput& input_;
  Backend& backend_;
  Trainer trainer_;
  Buffer flag_;  // a double
  std::optional<JobLog> log_;
  std::optional<JobSaver> saver_;
  std::int64_t next_valid_sample_ = 0;
  Timeline last_step_;
};

}  // namespace

TrainInput make_train_input(const TrainConfig& config) {
  const std::int64_t batch = config.plan.global_batch_size();
  const auto seed = static_cast<std::uint32_t>(config.trainer.seed);
  TrainInput input;
  input.start = find_start(config.checkpoint);
  const Progress& done = input.start.progress;
  // As many as the whole job takes, however many of them are left: the order depends on it.
  const std::int64_t num_samples =
      done.consumed_samples + std::max<std::int64_t>(config.train_iters - done.steps, 0) * batch;
  input.train = make_samples(config.data, config.plan.model, Split::train, num_samples, seed);
  if (config.eval_interval > 0) {
    const std::int64_t num_evaluations = config.train_iters / config.eval_interval + 1;
    input.valid = make_samples(config.data,
                               config.plan.model,
                               Split::valid,
                               num_evaluations * config.eval_iters * batch,
                               seed);
  }
  return input;
}

void train_rank(const TrainConfig& config,
                const TrainOptions& options,
                const TrainInput& input,
                Backend& backend,
                const RankTransports& transports,
                const std::function<bool()>& should_stop) {
  TrainRank(config, options, input, backend, transports).run(should_stop);
}

}  // namespace runflat::exec
