#include "exec/worker.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace runflat::exec {
namespace {

constexpr std::chrono::milliseconds kStandBy{50};

std::vector<std::int64_t> processes_of(const std::vector<Member>& members) {
  std::vector<std::int64_t> processes;
  for (const Member& member : members) {
    processes.push_back(member.process);
  }
  return processes;
}

}  // namespace

Worker::Worker(Device& device,
               Transport& transport,
               Store& store,
               const SampleSource& data,
               const WorkerConfig& config,
               WorkerHooks hooks)
    : device_(device),
      transport_(transport),
      data_(data),
      config_(config),
      hooks_(std::move(hooks)),
      rendezvous_(store, transport.process(), config.patience) {
  if (const auto last = last_agreement(store)) {
    is_newcomer_ = true;
    has_ended_ = last->rung == Rung::finish || last->rung == Rung::stop;
    reason_ = last->reason;
    next_meeting_ = last->generation + 1;
    expected_ = last->members;
    return;
  }
  // The first meeting is of the first life of every GPU of the plan.
  for (std::int64_t rank = 0; rank < config.plan.layout.num_ranks(); ++rank) {
    expected_.push_back({.process = config.plan.layout.gpu_of(Rank(rank)).value(), .life = 1});
  }
}

void Worker::notice() {
  noticed_ = Clock::now();
}

double Worker::seconds_since_notice() const {
  return std::chrono::duration<double>(Clock::now() - noticed_).count();
}

void Worker::at(RecoveryMoment moment) const {
  if (hooks_.at) {
    hooks_.at(moment);
  }
}

WorkerEnd Worker::run() {
  notice();
  if (has_ended_) {
    return WorkerEnd::fenced;
  }
  while (true) {
    const Agreement agreement = meet();
    reason_ = agreement.reason;
    const bool is_end = agreement.rung == Rung::finish || agreement.rung == Rung::stop;
    if (!agreement.has_member(self())) {
      if (is_newcomer_ && !is_end) {
        continue;  // it came too late for this one
      }
      return WorkerEnd::fenced;
    }
    is_newcomer_ = false;
    RecoveryRecord record{.generation = agreement.generation,
                          .rung = agreement.rung,
                          .reason = agreement.reason,
                          .at_step = agreement.progress.steps,
                          .members = processes_of(agreement.members),
                          .noticed = noticed_,
                          .agreed = seconds_since_notice()};
    at(RecoveryMoment::agreed);
    adopt(agreement, record);
    if (is_end) {
      return agreement.rung == Rung::finish ? WorkerEnd::finished : WorkerEnd::stopped;
    }
    if (carry_out(agreement, record)) {
      record.carried_out = seconds_since_notice();
      recoveries_.push_back(std::move(record));
      rendezvous_.begin();
      at(RecoveryMoment::carried_out);
      current_.trainer ? train() : stand_by();
      notice();
    }
  }
}

Standing Worker::standing() const {
  Standing standing;
  standing.member = rendezvous_.self();
  standing.generation = current_.generation;
  standing.next_generation = pending_.generation;
  standing.seconds = seconds_since_notice();
  standing.problem = problem_;
  if (current_.trainer) {
    standing.progress = current_.trainer->progress();
    standing.decision = current_.trainer->decision();
  }
  if (pending_.trainer) {
    standing.next_progress = pending_.trainer->progress();
  }
  return standing;
}

Agreement Worker::meet() {
  const std::int64_t generation = next_meeting_;
  Agreement agreement = rendezvous_.meet(
      generation, expected_, standing(), is_newcomer_, [&](const std::vector<Standing>& standings) {
        Situation situation{.generation = generation,
                            .standings = standings,
                            .previous = std::nullopt,
                            .has_begun = rendezvous_.has_begun(),
                            .num_steps = config_.num_steps};
        if (generation > 0) {
          situation.previous = rendezvous_.agreement(generation - 1);
        }
        return decide_recovery(situation,
                               config_.recovery,
                               config_.trainer,
                               config_.plan,
                               hooks_.replan,
                               [&](std::int64_t past) { return rendezvous_.agreement(past); });
      });
  next_meeting_ = generation + 1;
  expected_ = agreement.members;
  return agreement;
}

/// Makes the state that the agreement starts from out of what this worker has: whoever has carried
/// out the base agreement without knowing that all have knows it now, and a decided step is taken.
void Worker::adopt(const Agreement& agreement, RecoveryRecord& record) {
  if (pending_.generation >= 0 && pending_.generation == agreement.base_generation) {
    current_ = std::move(pending_);
  }
  pending_ = {};
  Trainer* trainer = current_.trainer.get();
  if (trainer == nullptr || current_.generation != agreement.base_generation) {
    return;
  }
  const StepDecision& decision = agreement.decision;
  if (decision.step == trainer->progress().steps + 1) {
    trainer->complete(decision);
    losses_[decision.step] = decision.loss / std::max(decision.tokens, 1.0);
    record.was_completed = true;
  }
  require(trainer->progress().steps == agreement.progress.steps,
          "a holder of the state is not where all agreed that it is");
}

std::unique_ptr<Trainer> Worker::make_trainer(const Agreement& agreement) {
  const Plan& plan = *agreement.plan;
  if (!plan.layout.rank_of(GpuId(transport_.process()))) {
    return nullptr;
  }
  const FirstWeights weights =
      agreement.rung == Rung::in_place ? FirstWeights::to_come : FirstWeights::drawn;
  return std::make_unique<Trainer>(
      device_, transport_, plan, config_.trainer, agreement.generation, weights);
}

SyncStatus Worker::bring_state(const Agreement& agreement,
                               Communicator* group,
                               const std::vector<std::int64_t>& members,
                               Trainer* next) {
  const Agreement base = rendezvous_.agreement(agreement.base_generation);
  std::vector<GpuId> holders;
  for (const std::int64_t process : agreement.holders) {
    holders.push_back(GpuId(process));
  }
  const auto transfers = state_transfers(*base.plan, *agreement.plan, config_.trainer, holders);
  require(transfers.has_value(), "an agreement to go on in place is possible");
  const SyncStatus status = move_state(device_,
                                       group,
                                       members,
                                       transport_.process(),
                                       *transfers,
                                       current_.trainer ? &current_.trainer->stages() : nullptr,
                                       next != nullptr ? &next->stages() : nullptr);
  if (next != nullptr) {
    next->set_progress(agreement.progress);
  }
  return status;
}

bool Worker::carry_out(const Agreement& agreement, RecoveryRecord& record) {
  const std::vector<std::int64_t> members = processes_of(agreement.members);
  const GroupSpec spec{.name = fmt::format("g{}/members", agreement.generation),
                       .members = members,
                       .timeout = config_.trainer.timeout};
  Tenure next{.generation = agreement.generation, .trainer = nullptr};
  std::unique_ptr<Communicator> group;  // ends before the memory that it moves
  if (members.size() > 1) {
    group = transport_.make_group(spec, deadline_in(spec.timeout));
    if (!group) {
      return false;
    }
  }
  try {
    next.trainer = make_trainer(agreement);
  } catch (const PeerLost&) {
    return false;
  }
  record.connected = seconds_since_notice();
  at(RecoveryMoment::connected);
  if (agreement.rung == Rung::in_place) {
    if (bring_state(agreement, group.get(), members, next.trainer.get()) != SyncStatus::done) {
      return false;
    }
    record.moved = seconds_since_notice();
    at(RecoveryMoment::moved);
    if (next.trainer && next.trainer->distribute_params() != SyncStatus::done) {
      return false;
    }
  } else if (next.trainer && hooks_.restore) {
    hooks_.restore(*next.trainer);
  }
  at(RecoveryMoment::distributed);
  // Whoever gets through this barrier knows that all have the state of the next plan.
  pending_ = std::move(next);
  if (group) {
    group->join(group->barrier());
    if (group->wait(deadline_in(spec.timeout)) != SyncStatus::done) {
      return false;
    }
  }
  current_ = std::exchange(pending_, {});
  return true;
}

void Worker::train() {
  Trainer& trainer = *current_.trainer;
  try {
    if (hooks_.on_trainer) {
      hooks_.on_trainer(trainer, current_.generation);
    }
    take_steps(trainer);
  } catch (const PeerLost&) {
    trainer.groups().abort();  // what was lost is for the meeting to find out
  }
}

void Worker::take_steps(Trainer& trainer) {
  num_refusals_ = 0;
  bool asks_to_stop = false;
  while (trainer.progress().steps < config_.num_steps) {
    const bool sees_newcomers =
        trainer.rank().value() == 0 && rendezvous_.has_newcomers(next_meeting_);
    const StepResult result = trainer.step(data_, sees_newcomers);
    if (trainer.decision().step == trainer.progress().steps && result.is_finite &&
        trainer.phase() >= StepPhase::updated) {
      losses_[trainer.progress().steps] = result.sums.loss;
    }
    if (result.status != SyncStatus::done) {
      return;
    }
    asks_to_stop = result.asks_to_stop;
    if (result.is_finite) {
      num_refusals_ = 0;
      if (hooks_.on_step) {
        hooks_.on_step(trainer, result);
      }
    } else if (++num_refusals_ == config_.most_refusals) {
      problem_ = fmt::format("the sums of step {} are not finite, {} times in a row",
                             trainer.progress().steps + 1,
                             num_refusals_);
      return;
    } else if (trainer.distribute_params() != SyncStatus::done) {
      return;  // parameters are made anew before the step is redone, in case they were damaged
    }
    if (asks_to_stop) {
      return;
    }
  }
}

void Worker::stand_by() {
  while (!rendezvous_.is_called(next_meeting_, deadline_in(kStandBy)) &&
         !rendezvous_.has_lost(expected_)) {
  }
}

}  // namespace runflat::exec
