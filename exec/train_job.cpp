#include "exec/train_job.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "exec/job_log.hpp"
#include "exec/make_device.hpp"
#include "exec/new_file.hpp"
#include "exec/timeline_gather.hpp"
#include "exec/trainer.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <iostream>
#include <span>

namespace runflat::exec {
namespace {

Value header_of(const TrainConfig& config, const TrainOptions& options) {
  Value header = Value::Object{{"runflat", options.version},
                               {"backend", options.backend},
                               {"transport", options.transport},
                               {"world_size", config.plan.layout.num_ranks()},
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
            const TrainSamples& samples,
            Backend& backend,
            Transport& transport)
      : config_(config),
        options_(options),
        samples_(samples),
        backend_(backend),
        trainer_(*backend.device, transport, config.plan, config.trainer),
        stop_(backend.device->allocate(sizeof(float))) {
    if (trainer_.rank().value() + 1 == config.plan.layout.num_ranks()) {
      log_.emplace(config, options.log, header_of(config, options), std::cout);
    }
    if (options.timeline) {
      trainer_.record();
    }
  }

  void run(const std::function<bool()>& should_stop) {
    bool is_over = trainer_.progress().steps >= config_.train_iters;
    while (!is_over) {
      step();
      const std::int64_t steps = trainer_.progress().steps;
      if (samples_.valid != nullptr && steps % config_.eval_interval == 0) {
        validate();
      }
      is_over = any_rank(should_stop()) || steps == config_.train_iters;
    }
    if (options_.timeline) {
      write_timeline();
    }
    static_cast<void>(any_rank(false));  // nobody leaves before the others are done with it
  }

 private:
  void step() {
    const Clock::time_point begin = Clock::now();
    const StepResult result = trainer_.step(*samples_.train);
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
      const StepResult result = trainer_.evaluate(*samples_.valid, next_valid_sample_);
      check(result.status, trainer_.groups().lost());
      next_valid_sample_ += config_.plan.global_batch_size();
      loss += result.sums.loss * result.sums.tokens;
      tokens += result.sums.tokens;
    }
    if (log_) {
      log_->add_validation(trainer_.progress().steps, tokens > 0.0 ? loss / tokens : 0.0);
    }
  }

  /// Whether any rank says so: the same answer on all of them, at the same step.
  bool any_rank(bool own) {
    Communicator* world = trainer_.groups().world.get();
    if (world == nullptr) {
      return own;
    }
    float flag = own ? 1.0F : 0.0F;
    backend_.device->copy_in(stop_.data(), &flag, sizeof flag);
    world->join(world->all_reduce(stop_.data(), 1, DataType::fp32, ReduceOp::max));
    backend_.device->copy_out(&flag, stop_.data(), sizeof flag);
    check(world->status(), JobGroup::world);
    return flag > 0.0F;
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
  const TrainSamples& samples_;
  Backend& backend_;
  Trainer trainer_;
  Buffer stop_;  ///< one float
  std::optional<JobLog> log_;
  std::int64_t next_valid_sample_ = 0;
  Timeline last_step_;
};

}  // namespace

TrainSamples make_train_samples(const TrainConfig& config) {
  const std::int64_t batch = config.plan.global_batch_size();
  const auto seed = static_cast<std::uint32_t>(config.trainer.seed);
  TrainSamples samples;
  samples.train =
      make_samples(config.data, config.plan.model, Split::train, config.train_iters * batch, seed);
  if (config.eval_interval > 0) {
    const std::int64_t num_evaluations = config.train_iters / config.eval_interval + 1;
    samples.valid = make_samples(config.data,
                                 config.plan.model,
                                 Split::valid,
                                 num_evaluations * config.eval_iters * batch,
                                 seed);
  }
  return samples;
}

void train_rank(const TrainConfig& config,
                const TrainOptions& options,
                const TrainSamples& samples,
                Backend& backend,
                Transport& transport,
                const std::function<bool()>& should_stop) {
  TrainRank(config, options, samples, backend, transport).run(should_stop);
}

}  // namespace runflat::exec
