#include "exec/drill/planned_job.hpp"

#include "core/error.hpp"
#include "exec/communication/loopback_communicator.hpp"
#include "exec/device/host_device.hpp"
#include "exec/recovery/state_transfer.hpp"
#include "exec/training/trainer.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

namespace runflat::exec {
namespace {

std::vector<GpuId> gpus_of(const Plan& plan) {
  std::vector<GpuId> gpus;
  for (std::int64_t rank = 0; rank < plan.layout.num_ranks(); ++rank) {
    gpus.push_back(plan.layout.gpu_of(Rank(rank)));
  }
  std::sort(gpus.begin(), gpus.end());
  return gpus;
}

/// All that play a rank at some time.
std::vector<std::int64_t> processes_of(const std::vector<PlanSpan>& spans) {
  std::set<std::int64_t> processes;
  for (const PlanSpan& span : spans) {
    for (const GpuId gpu : gpus_of(span.plan)) {
      processes.insert(gpu.value());
    }
  }
  return {processes.begin(), processes.end()};
}

void check(SyncStatus status) {
  if (status != SyncStatus::done) {
    throw PeerLost("in a run without faults");
  }
}

/// One process, with a rank or without.
class PlannedRank {
 public:
  PlannedRank(Transport& transport,
              const std::vector<PlanSpan>& spans,
              const std::vector<std::int64_t>& processes,
              const TrainerConfig& config)
      : transport_(transport), spans_(spans), processes_(processes), config_(config) {}

  void enter(std::size_t span) {
    if (trainer_) {
      trainer_->retire();
    }
    const auto weights = span == 0 ? FirstWeights::drawn : FirstWeights::to_come;
    std::unique_ptr<Trainer> next;
    if (spans_[span].plan.layout.rank_of(GpuId(transport_.process()))) {
      next = std::make_unique<Trainer>(device_,
                                       transport_,
                                       spans_[span].plan,
                                       config_,
                                       static_cast<std::int64_t>(span),
                                       weights);
    }
    if (span > 0) {
      take_over(span, next.get());
    }
    trainer_ = std::move(next);
  }

  /// Until so many steps are taken; `note` gets each and its loss.
  template <typename Note>
  void train(std::int64_t num_steps, const SampleSource& data, const Note& note) {
    while (trainer_ && trainer_->progress().steps < num_steps) {
      const StepResult result = trainer_->step(data);
      check(result.status);
      note(trainer_->progress().steps, result.sums.loss);
    }
  }

 private:
  void take_over(std::size_t span, Trainer* next) {
    const Plan& before = spans_[span - 1].plan;
    const Plan& after = spans_[span].plan;
    const auto transfers = state_transfers(before, after, config_, gpus_of(before));
    require(transfers.has_value(), "all of a plan hold all of its state");
    const GroupSpec spec{
        .name = fmt::format("planned{}", span), .members = processes_, .timeout = config_.timeout};
    std::unique_ptr<Communicator> group;
    if (processes_.size() > 1) {
      group = transport_.make_group(spec, deadline_in(spec.timeout));
      check(group ? SyncStatus::done : SyncStatus::timed_out);
    }
    check(move_state(device_,
                     group.get(),
                     processes_,
                     transport_.process(),
                     *transfers,
                     trainer_ ? &trainer_->stages() : nullptr,
                     next != nullptr ? &next->stages() : nullptr));
    if (next != nullptr) {
      next->set_progress({.steps = spans_[span].steps,
                          .consumed_samples = spans_[span].steps * after.global_batch_size()});
      check(next->distribute_params());
    }
  }

  HostDevice device_;
  Transport& transport_;
  const std::vector<PlanSpan>& spans_;
  const std::vector<std::int64_t>& processes_;
  const TrainerConfig& config_;
  std::unique_ptr<Trainer> trainer_;
};

}  // namespace

void append_span(std::vector<PlanSpan>& spans, const PlanSpan& next) {
  while (!spans.empty() && spans.back().steps >= next.steps) {
    spans.pop_back();
  }
  if (spans.empty() || spans.back().plan != next.plan) {
    spans.push_back(next);
  }
}

std::map<std::int64_t, double> run_planned_job(const std::vector<PlanSpan>& spans,
                                               const TrainerConfig& config,
                                               std::int64_t num_steps,
                                               const SampleSource& data) {
  require(!spans.empty() && spans.front().steps == 0, "a job begins under some plan");
  const std::vector<std::int64_t> processes = processes_of(spans);
  std::map<std::int64_t, double> losses;
  std::mutex mutex;
  spawn(processes, [&](ThreadRank& thread) {
    PlannedRank rank(thread.transport, spans, processes, config);
    for (std::size_t span = 0; span < spans.size(); ++span) {
      const bool is_last = span + 1 == spans.size();
      rank.enter(span);
      rank.train(
          is_last ? num_steps : spans[span + 1].steps, data, [&](std::int64_t step, double loss) {
            const std::lock_guard lock(mutex);
            losses[step] = loss;
          });
    }
  });
  return losses;
}

}  // namespace runflat::exec
