#include "exec/drill/drill.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace runflat::exec {
namespace {

std::string describe(const FaultRecord& record) {
  if (!record.rung) {
    return record.reason;
  }
  return fmt::format("{}: {}", name_of(*record.rung), record.reason);
}

/// Steps that were taken before the last start from a checkpoint and are taken again.
std::int64_t steps_lost(const FaultRecord& fault, const JobOutcome& outcome) {
  std::int64_t at_step = 0;
  for (const RecoveryRecord& recovery : outcome.recoveries) {
    if (recovery.rung == Rung::checkpoint && recovery.reason == fault.reason) {
      at_step = std::max(at_step, recovery.at_step);
    }
  }
  return fault.rung == Rung::checkpoint ? at_step : 0;
}

class Drill {
 public:
  Drill(const LoopbackJob& job, const DrillConfig& config, const SampleSource& data)
      : job_(job), config_(config), data_(data) {
    job_.faults.clear();
    calm_ = run_loopback_job(job_, data_);
  }

  [[nodiscard]] DrillReport run() {
    if (calm_.end != WorkerEnd::finished || !calm_.is_in_time) {
      report_.broken.push_back("the run without faults does not end: " + calm_.reason);
      return std::move(report_);
    }
    if (!config_.faults.empty()) {
      job_.faults = config_.faults;
      run_once();
      return std::move(report_);
    }
    while (std::ssize(report_.rows) < config_.num_faults) {
      draw_faults();
      run_once();
    }
    return std::move(report_);
  }

 private:
  void draw_faults() {
    const ParallelLayout& layout = job_.worker.plan.layout;
    const std::vector<std::int64_t> processes = processes_of(job_.worker.plan);
    const FaultRange range{
        .num_ranks = std::ssize(processes),
        .num_steps = job_.worker.num_steps,
        .num_ops = 4 * job_.worker.plan.replicas.front().num_microbatches * layout.sizes().vpp,
        .num_stages = layout.sizes().vpp,
        .hang_seconds =
            2.0 *
            static_cast<double>((job_.worker.trainer.timeout + 2 * job_.worker.patience).count()) /
            1000.0};
    job_.faults.clear();
    const std::int64_t left = config_.num_faults - std::ssize(report_.rows);
    const std::int64_t num = std::min(left, 1 + report_.num_runs % config_.most_per_run);
    for (std::int64_t i = 0; i < num; ++i) {
      Fault fault = random_fault(config_.seed, num_drawn_++, range);
      fault.rank = processes[static_cast<std::size_t>(fault.rank)];
      job_.faults.push_back(fault);
    }
  }

  void run_once() {
    judge(run_loopback_job(job_, data_));
    ++report_.num_runs;
  }

  void judge(const JobOutcome& outcome) {
    std::vector<std::string> texts;
    for (const Fault& fault : job_.faults) {
      texts.push_back(to_text(fault));
    }
    const auto blame = [&](const std::string& what) {
      report_.broken.push_back(
          fmt::format("run {}: {} ({})", report_.num_runs, what, fmt::join(texts, "; ")));
    };
    for (const FaultRecord& fault : outcome.faults) {
      report_.rows.push_back({.run = report_.num_runs,
                              .fault = fault,
                              .steps_lost = steps_lost(fault, outcome),
                              .how = describe(fault)});
    }
    if (!outcome.is_in_time) {
      return blame("not over at its deadline");
    }
    if (outcome.end == WorkerEnd::stopped) {
      ++report_.num_stopped;
      if (outcome.reason.empty()) {
        blame("stopped without a reason");
      }
    } else if (outcome.losses.empty() || outcome.losses.rbegin()->first != job_.worker.num_steps) {
      blame("the last steps are missing");
    }
    if (!outcome.unequal_steps.empty()) {
      blame(fmt::format("workers differ in step {}", outcome.unequal_steps.front()));
    }
    compare(outcome, blame);
  }

  template <typename Blame>
  void compare(const JobOutcome& outcome, const Blame& blame) {
    std::int64_t expected_step = 1;
    for (const auto& [step, loss] : outcome.losses) {
      if (step != expected_step++) {
        blame(fmt::format("step {} is missing", step - 1));
      }
      const double difference = std::abs(loss / calm_.losses.at(step) - 1.0);
      report_.worst_loss = std::max(report_.worst_loss, difference);
      if (!(difference <= config_.tolerance)) {
        return blame(fmt::format(
            "the loss of step {} is {}, undisturbed {}", step, loss, calm_.losses.at(step)));
      }
    }
  }

  LoopbackJob job_;
  DrillConfig config_;
  const SampleSource& data_;
  JobOutcome calm_;
  std::int64_t num_drawn_ = 0;
  DrillReport report_;
};

}  // namespace

DrillReport run_drill(const LoopbackJob& job, const DrillConfig& config, const SampleSource& data) {
  return Drill(job, config, data).run();
}

}  // namespace runflat::exec
