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
#include <set>
#include <utility>

namespace runflat::exec {
namespace {

/// A span of the jobs that have it and all before it in common.
struct Branch {
  PlanSpan span;
  std::int64_t number = 0;   // among all branches
  bool is_last = false;      // of some job: it goes on to the end
  std::vector<Branch> next;  // ascending by steps
  Losses losses;             // from its beginning on

  [[nodiscard]] Branch& branch_to(const PlanSpan& follower, std::int64_t& num_branches) {
    const auto known = std::find_if(
        next.begin(), next.end(), [&](const Branch& branch) { return branch.span == follower; });
    if (known != next.end()) {
      return *known;
    }
    const auto place = std::find_if(next.begin(), next.end(), [&](const Branch& branch) {
      return branch.span.steps > follower.steps;
    });
    Branch branch{.span = follower, .number = num_branches++, .next = {}, .losses = {}};
    return *next.insert(place, std::move(branch));
  }
};

std::vector<GpuId> players_of(const Plan& plan) {
  std::vector<GpuId> gpus;
  for (std::int64_t rank = 0; rank < plan.layout.num_ranks(); ++rank) {
    gpus.push_back(plan.layout.gpu_of(Rank(rank)));
  }
  std::sort(gpus.begin(), gpus.end());
  return gpus;
}

void check(SyncStatus status) {
  if (status != SyncStatus::done) {
    throw PeerLost("in a run without faults");
  }
}

/// The jobs as branches of each other, and the GPUs that play a rank at some time.
class Tree {
 public:
  explicit Tree(const std::vector<PlanSpans>& jobs) {
    std::set<std::int64_t> processes;
    for (const PlanSpans& job : jobs) {
      require(!job.empty() && job.front().steps == 0, "a job begins under some plan");
      Branch* branch = &root_;
      for (const PlanSpan& span : job) {
        branch = &branch->branch_to(span, num_branches_);
        for (const GpuId gpu : players_of(span.plan)) {
          processes.insert(gpu.value());
        }
      }
      branch->is_last = true;
    }
    processes_.assign(processes.begin(), processes.end());
  }

  /// From the first step on.
  [[nodiscard]] std::vector<Branch>& branches() { return root_.next; }
  [[nodiscard]] const std::vector<std::int64_t>& processes() const { return processes_; }

  /// From any thread.
  void note(Branch& branch, std::int64_t step, double loss) {
    const std::lock_guard lock(mutex_);
    branch.losses[step] = loss;
  }

  [[nodiscard]] Losses losses_of(const PlanSpans& job) {
    Losses losses;
    Branch* branch = &root_;
    for (const PlanSpan& span : job) {
      branch = &branch->branch_to(span, num_branches_);
      losses.erase(losses.upper_bound(span.steps), losses.end());
      losses.insert(branch->losses.begin(), branch->losses.end());
    }
    return losses;
  }

 private:
  Branch root_;  // before the first step, without a plan
  std::int64_t num_branches_ = 0;
  std::vector<std::int64_t> processes_;
  std::mutex mutex_;  // of all losses
};

/// One process, which follows all branches, with a rank or without.
class Follower {
 public:
  Follower(Tree& tree,
           Transport& transport,
           const TrainerConfig& config,
           std::int64_t num_steps,
           const SampleSource& data)
      : tree_(tree), transport_(transport), config_(config), num_steps_(num_steps), data_(data) {}

  void run() {
    for (Branch& branch : tree_.branches()) {
      follow(branch, make_trainer(branch, FirstWeights::drawn).get());
    }
  }

 private:
  /// nullptr where the process has no rank.
  [[nodiscard]] std::unique_ptr<Trainer> make_trainer(const Branch& branch, FirstWeights weights) {
    const Plan& plan = branch.span.plan;
    if (!plan.layout.rank_of(GpuId(transport_.process()))) {
      return nullptr;
    }
    return std::make_unique<Trainer>(device_, transport_, plan, config_, branch.number, weights);
  }

  void follow(Branch& branch, Trainer* trainer) {
    for (Branch& next : branch.next) {
      train(branch, trainer, next.span.steps);
      const auto next_trainer = make_trainer(next, FirstWeights::to_come);
      hand_over(branch, trainer, next, next_trainer.get());
      follow(next, next_trainer.get());
    }
    if (branch.is_last) {
      train(branch, trainer, num_steps_);
    }
  }

  void train(Branch& branch, Trainer* trainer, std::int64_t num_steps) {
    while (trainer != nullptr && trainer->progress().steps < num_steps) {
      const StepResult result = trainer->step(data_);
      check(result.status);
      tree_.note(branch, trainer->progress().steps, result.sums.loss);
    }
  }

  void hand_over(const Branch& from, Trainer* trainer, const Branch& to, Trainer* next_trainer) {
    const Plan& before = from.span.plan;
    const std::vector<std::int64_t>& processes = tree_.processes();
    const auto transfers = state_transfers(before, to.span.plan, config_, players_of(before));
    require(transfers.has_value(), "all of a plan hold all of its state");
    std::unique_ptr<Communicator> group;
    if (processes.size() > 1) {
      const GroupSpec spec{.name = fmt::format("planned{}", to.number),
                           .members = processes,
                           .timeout = config_.timeout};
      group = transport_.make_group(spec, deadline_in(spec.timeout));
      check(group ? SyncStatus::done : SyncStatus::timed_out);
    }
    check(move_state(device_,
                     group.get(),
                     processes,
                     transport_.process(),
                     *transfers,
                     trainer != nullptr ? &trainer->stages() : nullptr,
                     next_trainer != nullptr ? &next_trainer->stages() : nullptr));
    if (next_trainer != nullptr) {
      const std::int64_t steps = to.span.steps;
      next_trainer->set_progress(
          {.steps = steps, .consumed_samples = steps * before.global_batch_size()});
      check(next_trainer->distribute_params());
    }
  }

  Tree& tree_;
  HostDevice device_;
  Transport& transport_;
  const TrainerConfig& config_;
  std::int64_t num_steps_;
  const SampleSource& data_;
};

}  // namespace

void append_span(PlanSpans& spans, const PlanSpan& next) {
  while (!spans.empty() && spans.back().steps >= next.steps) {
    spans.pop_back();
  }
  if (spans.empty() || spans.back().plan != next.plan) {
    spans.push_back(next);
  }
}

std::vector<Losses> run_planned_jobs(const std::vector<PlanSpans>& jobs,
                                     const TrainerConfig& config,
                                     std::int64_t num_steps,
                                     const SampleSource& data) {
  Tree tree(jobs);
  spawn(tree.processes(), [&](ThreadRank& thread) {
    Follower(tree, thread.transport, config, num_steps, data).run();
  });
  std::vector<Losses> losses;
  for (const PlanSpans& job : jobs) {
    losses.push_back(tree.losses_of(job));
  }
  return losses;
}

}  // namespace runflat::exec
