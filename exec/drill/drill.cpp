#include "exec/drill/drill.hpp"

#include "core/random_fault.hpp"
#include "exec/drill/planned_job.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <string_view>
#include <utility>

namespace runflat::exec {
namespace {

/// A run without faults.
struct Reference {
  std::string_view name;
  const Losses& losses;
  double tolerance = 0.0;
};

/// A run with faults.
struct Trial {
  std::int64_t number = 0;
  std::string faults;
  PlanSpans spans;
  Losses losses;
};

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
    }
    while (config_.faults.empty() && std::ssize(report_.rows) < config_.num_faults) {
      draw_faults();
      run_once();
    }
    compare();
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
      InjectedFault fault = random_fault(config_.seed, num_drawn_++, range);
      fault.rank = processes[static_cast<std::size_t>(fault.rank)];
      job_.faults.push_back(fault);
    }
  }

  void run_once() {
    judge(run_loopback_job(job_, data_));
    ++report_.num_runs;
  }

  void blame(const Trial& trial, const std::string& what) {
    report_.broken.push_back(fmt::format("run {}: {} ({})", trial.number, what, trial.faults));
  }

  void judge(const JobOutcome& outcome) {
    std::vector<std::string> texts;
    for (const InjectedFault& fault : job_.faults) {
      texts.push_back(to_text(fault));
    }
    const Trial trial{.number = report_.num_runs,
                      .faults = fmt::format("{}", fmt::join(texts, "; ")),
                      .spans = outcome.spans,
                      .losses = outcome.losses};
    for (const FaultRecord& fault : outcome.faults) {
      report_.rows.push_back({.run = report_.num_runs,
                              .fault = fault,
                              .steps_lost = steps_lost(fault, outcome),
                              .how = describe(fault)});
    }
    if (!outcome.is_in_time) {
      return blame(trial, "not over at its deadline");
    }
    const std::int64_t num_taken = trial.losses.empty() ? 0 : trial.losses.rbegin()->first;
    if (outcome.end == WorkerEnd::stopped) {
      ++report_.num_stopped;
      if (outcome.reason.empty()) {
        blame(trial, "stopped without a reason");
      }
    } else if (num_taken != job_.worker.num_steps) {
      blame(trial, "the last steps are missing");
    }
    if (std::ssize(trial.losses) != num_taken) {
      blame(trial, fmt::format("of {} steps {} are there", num_taken, trial.losses.size()));
    }
    if (!outcome.unequal_steps.empty()) {
      blame(trial, fmt::format("workers differ in step {}", outcome.unequal_steps.front()));
    }
    if (num_taken > 0) {
      trials_.push_back(trial);
    }
  }

  /// All trials with runs that have no faults.
  void compare() {
    std::vector<PlanSpans> jobs;
    for (const Trial& trial : trials_) {
      jobs.push_back(trial.spans);
    }
    TrainerConfig patient = job_.worker.trainer;
    patient.timeout = job_.deadline;
    const std::vector<Losses> planned =
        run_planned_jobs(jobs, patient, job_.worker.num_steps, data_);
    for (std::size_t i = 0; i < trials_.size(); ++i) {
      compare(trials_[i],
              {.name = "planned", .losses = planned[i], .tolerance = config_.tolerance},
              report_.worst_from_planned);
      compare(trials_[i],
              {.name = "undisturbed", .losses = calm_.losses, .tolerance = config_.calm_tolerance},
              report_.worst_from_calm);
    }
  }

  void compare(const Trial& trial, const Reference& reference, double& worst) {
    for (const auto& [step, loss] : trial.losses) {
      const double expected = reference.losses.at(step);
      const double difference = std::abs(loss / expected - 1.0);
      worst = std::max(worst, difference);
      if (!(difference <= reference.tolerance)) {
        return blame(
            trial,
            fmt::format("the loss of step {} is {}, {} {}", step, loss, reference.name, expected));
      }
    }
  }

  LoopbackJob job_;
  DrillConfig config_;
  const SampleSource& data_;
  JobOutcome calm_;
  std::int64_t num_drawn_ = 0;
  std::vector<Trial> trials_;  // that have taken steps
  DrillReport report_;
};

}  // namespace

DrillReport run_drill(const LoopbackJob& job, const DrillConfig& config, const SampleSource& data) {
  return Drill(job, config, data).run();
}

}  // namespace runflat::exec
