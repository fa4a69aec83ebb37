#include "exec/recovery/recovery.hpp"

#include "exec/recovery/state_transfer.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace runflat::exec {
namespace {

class Decider {
 public:
  Decider(const Situation& situation,
          const RecoveryPolicy& policy,
          const TrainerConfig& config,
          const Plan& whole,
          const Replanner& replan,
          const std::function<Agreement(std::int64_t)>& agreement_of)
      : situation_(situation),
        policy_(policy),
        config_(config),
        whole_(whole),
        replan_(replan),
        agreement_of_(agreement_of) {}

  [[nodiscard]] Agreement decide() {
    next_.generation = situation_.generation;
    for (const Standing& standing : situation_.standings) {
      next_.members.push_back(standing.member);
      next_.base_generation = std::max(next_.base_generation, standing.generation);
      next_.waited = std::max(next_.waited, standing.waited);
    }
    if (next_.base_generation >= 0) {
      base_ = agreement_of_(next_.base_generation);
      find_state();
    }
    choose();
    return std::move(next_);
  }

 private:
  /// Who holds the state of the base plan, and which step was decided last (commit.hpp).
  void find_state() {
    std::optional<Progress> at_last;
    for (const Standing& standing : situation_.standings) {
      const bool has_entered = standing.generation == next_.base_generation ||
                               standing.next_generation == next_.base_generation;
      if (!has_entered || !base_->plan->layout.rank_of(GpuId(standing.member.process))) {
        continue;
      }
      next_.holders.push_back(standing.member.process);
      const bool has_trained = standing.generation == next_.base_generation;
      const Progress progress = has_trained ? standing.progress : standing.next_progress;
      if (has_trained && standing.decision.step > next_.decision.step) {
        next_.decision = standing.decision;
      }
      if (!at_last || progress.steps > at_last->steps) {
        at_last = progress;
      }
    }
    if (at_last && next_.decision.step > at_last->steps) {
      at_last->steps = next_.decision.step;
      at_last->consumed_samples += base_->plan->global_batch_size();
    }
    next_.progress = at_last.value_or(Progress{});
  }

  void choose() {
    for (const Standing& standing : situation_.standings) {
      if (standing.is_over) {
        return end(Rung::finish,
                   next_.progress.steps >= situation_.num_steps
                       ? fmt::format("all {} steps are taken", situation_.num_steps)
                       : fmt::format("asked to end after step {}", next_.progress.steps));
      }
    }
    for (const Standing& standing : situation_.standings) {
      if (!standing.problem.empty()) {
        return end(Rung::stop, standing.problem);
      }
    }
    const Plan& current = base_ ? *base_->plan : whole_;
    Expected<Plan, Infeasible> plan = replan_(current, health());
    if (!plan) {
      return wait_or_stop(plan.error().reason);
    }
    next_.plan = std::move(plan).value();
    if (!situation_.has_begun && attempts_at(Rung::checkpoint) == 0) {
      return take(Rung::checkpoint, "the job starts");
    }
    std::string reason;
    if (can_go_on_in_place(reason)) {
      return take(Rung::in_place, describe_change());
    }
    start_again(reason);
  }

  [[nodiscard]] Health health() const {
    std::vector<GpuId> down;
    for (std::int64_t gpu = 0; gpu < whole_.cluster.num_gpus(); ++gpu) {
      const bool is_here =
          std::any_of(next_.members.begin(), next_.members.end(), [gpu](const Member& member) {
            return member.process == gpu;
          });
      if (!is_here) {
        down.push_back(GpuId(gpu));
      }
    }
    return Health(std::move(down));
  }

  /// Whether the last agreement was at this rung and came to nothing.
  [[nodiscard]] bool has_failed(Rung rung) const {
    return situation_.previous && situation_.previous->rung == rung &&
           situation_.previous->generation > next_.base_generation;
  }
  [[nodiscard]] std::int64_t attempts_at(Rung rung) const {
    return has_failed(rung) ? situation_.previous->attempt : 0;
  }

  [[nodiscard]] bool can_go_on_in_place(std::string& reason) const {
    if (next_.holders.empty()) {
      reason = "nobody is left who holds the state of the job";
      return false;
    }
    if (has_failed(Rung::checkpoint)) {
      reason = "the start from a checkpoint did not come about";
      return false;
    }
    double seconds = 0.0;
    for (const Standing& standing : situation_.standings) {
      seconds = std::max(seconds, standing.seconds);
    }
    const double limit = static_cast<double>(policy_.in_place_deadline.count()) / 1000.0;
    const std::int64_t attempts = attempts_at(Rung::in_place);
    if (attempts >= policy_.most_attempts || (attempts > 0 && seconds > limit)) {
      reason = fmt::format("{} attempts to go on in place failed in {:.1f} s", attempts, seconds);
      return false;
    }
    std::vector<GpuId> holders;
    for (const std::int64_t process : next_.holders) {
      holders.push_back(GpuId(process));
    }
    const auto transfers = state_transfers(*base_->plan, *next_.plan, config_, holders);
    if (!transfers) {
      reason = transfers.error().reason;
    }
    return transfers.has_value();
  }

  void start_again(const std::string& reason) {
    const bool has_turns = attempts_at(Rung::checkpoint) < policy_.most_checkpoint_attempts;
    if (has_turns && (policy_.may_restart || !situation_.has_begun)) {
      return take(Rung::checkpoint, reason);
    }
    end(Rung::stop, policy_.may_restart ? reason : reason + "; there is no checkpoint to load");
  }

  void wait_or_stop(const std::string& reason) {
    const double limit = std::chrono::duration<double>(policy_.wait_for_spare).count();
    if (next_.waited < limit) {
      return end(Rung::wait, reason);
    }
    end(Rung::stop,
        limit > 0.0 ? fmt::format("{}; waited {:.1f} s for workers to join", reason, next_.waited)
                    : reason);
  }

  void take(Rung rung, const std::string& reason) {
    next_.rung = rung;
    next_.reason = reason;
    next_.attempt = attempts_at(rung) + 1;
  }

  void end(Rung rung, const std::string& reason) {
    next_.rung = rung;
    next_.reason = reason;
    next_.plan.reset();
  }

  [[nodiscard]] std::string describe_change() const {
    std::vector<std::int64_t> lost;
    std::vector<std::int64_t> joined;
    for (const Member& member : base_->members) {
      if (!next_.has_member(member)) {
        lost.push_back(member.process);
      }
    }
    for (const Member& member : next_.members) {
      if (!base_->has_member(member)) {
        joined.push_back(member.process);
      }
    }
    if (lost.empty() && joined.empty()) {
      return "communication failed and nobody is lost";
    }
    std::string text;
    if (!lost.empty()) {
      text = fmt::format("lost {}", fmt::join(lost, ", "));
    }
    if (!joined.empty()) {
      text += fmt::format("{}joined by {}", text.empty() ? "" : "; ", fmt::join(joined, ", "));
    }
    return text;
  }

  const Situation& situation_;
  const RecoveryPolicy& policy_;
  const TrainerConfig& config_;
  const Plan& whole_;
  const Replanner& replan_;
  const std::function<Agreement(std::int64_t)>& agreement_of_;
  Agreement next_;
  std::optional<Agreement> base_;
};

}  // namespace

Agreement decide_recovery(const Situation& situation,
                          const RecoveryPolicy& policy,
                          const TrainerConfig& config,
                          const Plan& whole,
                          const Replanner& replan,
                          const std::function<Agreement(std::int64_t)>& agreement_of) {
  return Decider(situation, policy, config, whole, replan, agreement_of).decide();
}

}  // namespace runflat::exec
