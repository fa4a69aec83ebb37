#include "exec/recovery/worker.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace runflat::exec {
namespace {

constexpr std::chrono::milliseconds kStandBy{50};
constexpr std::chrono::milliseconds kAlarmPeriod{5};
constexpr std::int64_t kStateValues = 3;  // of an element: master and two moments

double seconds(Clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

}  // namespace

Worker::Worker(Device& device,
               Transport& transport,
               Store& store,
               const SampleSource& data,
               const WorkerConfig& config,
               WorkerHooks hooks)
    : device_(device),
      store_(store),
      alarm_(kAlarmPeriod),
      transport_(transport, alarm_),
      data_(data),
      config_(config),
      hooks_(std::move(hooks)),
      rendezvous_(store,
                  {.process = transport.process(),
                   .life = config.life > 0 ? config.life : begin_life(store, transport.process())},
                  config.patience) {
  if (const auto last = last_agreement(store)) {
    arrival_ = Arrival::newcomer;
    has_ended_ = last->rung == Rung::finish || last->rung == Rung::stop;
    reason_ = last->reason;
    next_meeting_ = last->generation + 1;
    expected_ = last->members;
    return;
  }
  // The first meeting is of the first life of every GPU of the plan.
  for (const std::int64_t process : processes_of(config.plan)) {
    expected_.push_back({.process = process, .life = 1});
  }
}

void Worker::notice() {
  noticed_ = Clock::now();
  if (alarm_.is_raised()) {
    first_sign_ = std::min(first_sign_.value_or(noticed_), alarm_.raised_at());
  }
  alarm_.clear();
}

/// Deaths and meetings that this worker's communicators do not tell of, and newcomers.
void Worker::watch(const std::vector<Member>& members) {
  plan_with_newcomers_.reset();
  have_newcomers_changed_ = false;
  alarm_.set([this, next = next_meeting_, members, known = std::string()]() mutable {
    std::string events = rendezvous_.num_events();
    if (events == known) {
      return false;
    }
    known = std::move(events);
    have_newcomers_changed_ = true;
    return rendezvous_.is_needed(next) || rendezvous_.has_lost(members);
  });
}

double Worker::seconds_since_notice() const {
  return seconds(Clock::now() - noticed_);
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
  if (arrival_ == Arrival::newcomer) {
    warm_up();
  }
  while (true) {
    const Agreement agreement = meet();
    reason_ = agreement.reason;
    const bool is_end = agreement.rung == Rung::finish || agreement.rung == Rung::stop;
    if (!agreement.has_member(self())) {
      if (was_member_ || is_end) {
        return WorkerEnd::fenced;
      }
      arrival_ = Arrival::newcomer;  // it came too late for this one
      continue;
    }
    was_member_ = true;
    if (std::exchange(arrival_, Arrival::in_need) == Arrival::newcomer) {
      noticed_ = Clock::now();  // until now it has held nobody up
    }
    RecoveryRecord record{.generation = agreement.generation,
                          .rung = agreement.rung,
                          .reason = agreement.reason,
                          .waited = agreement.waited,
                          .at_step = agreement.progress.steps,
                          .members = processes_of(agreement.members),
                          .quiesced = first_sign_ ? seconds(noticed_ - *first_sign_) : 0.0,
                          .noticed = noticed_,
                          .agreed = seconds_since_notice(),
                          .decision = agreement.decision};
    if (agreement.base_generation >= 0) {
      explain(store_, rendezvous_.agreement(agreement.base_generation), agreement, record);
    }
    const std::vector<Member> participants = participants_of(agreement);
    watch(participants);
    at(RecoveryMoment::agreed);
    adopt(agreement, record);
    if (agreement.rung == Rung::finish && hooks_.on_finish) {
      hooks_.on_finish(agreement);
    }
    if (is_end) {
      return agreement.rung == Rung::finish ? WorkerEnd::finished : WorkerEnd::stopped;
    }
    if (agreement.rung == Rung::wait) {
      wait_for_others();
      alarm_.clear();
      first_sign_.reset();
      notice();
    } else if (std::find(participants.begin(), participants.end(), self()) == participants.end()) {
      waiting_since_.reset();
      first_sign_.reset();
      stand_by(agreement);
      notice();
    } else if (carry_out(agreement, participants, record)) {
      watch(trainers_of(agreement));
      is_warm_ = true;
      waiting_since_.reset();
      record.carried_out = seconds_since_notice();
      recoveries_.push_back(std::move(record));
      begin_job(store_);
      at(RecoveryMoment::carried_out);
      first_sign_.reset();
      current_.trainer ? train() : stand_by(agreement);
      notice();
    } else {
      alarm_.clear();
    }
  }
}

/// The first group of a process may take its library a second, for which nobody waits yet.
void Worker::warm_up() {
  if (std::exchange(is_warm_, true)) {
    return;
  }
  const GroupSpec alone{.name = fmt::format("warm/{}/{}", self().process, self().life),
                        .members = {self().process},
                        .timeout = config_.trainer.timeout};
  static_cast<void>(transport_.make_group(alone, deadline_in(alone.timeout)));
}

Standing Worker::standing() const {
  Standing standing;
  standing.member = rendezvous_.self();
  standing.generation = current_.generation;
  standing.next_generation = pending_.generation;
  standing.seconds = seconds_since_notice();
  standing.waited = waiting_since_ ? seconds(Clock::now() - *waiting_since_) : 0.0;
  standing.problem = problem_;
  standing.is_over = is_over_;
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
  if (hooks_.before_meeting) {
    hooks_.before_meeting();
  }
  const std::int64_t generation = next_meeting_;
  Agreement agreement = rendezvous_.meet(
      generation, expected_, standing(), arrival_, [&](const std::vector<Standing>& standings) {
        Situation situation{.generation = generation,
                            .standings = standings,
                            .previous = std::nullopt,
                            .has_begun = has_begun(store_),
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
                               Trainer* next,
                               RecoveryRecord& record) {
  const Agreement base = rendezvous_.agreement(agreement.base_generation);
  std::vector<GpuId> holders;
  for (const std::int64_t process : agreement.holders) {
    holders.push_back(GpuId(process));
  }
  const auto transfers = state_transfers(*base.plan, *agreement.plan, config_.trainer, holders);
  require(transfers.has_value(), "an agreement to go on in place is possible");
  for (const StateTransfer& transfer : *transfers) {
    if (transfer.from != transfer.to) {
      record.bytes_moved += transfer.num * kStateValues *
                            kernels::size_of(kernels::accumulate_type(config_.trainer.type));
    }
  }
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
  device_.synchronize();
  return group != nullptr ? group->status() : status;
}

bool Worker::carry_out(const Agreement& agreement,
                       const std::vector<Member>& participants,
                       RecoveryRecord& record) {
  std::vector<std::int64_t> members = processes_of(participants);
  const std::vector<std::int64_t> trained = processes_of(agreement.plan->layout);
  const bool all_train = trained.size() == members.size();
  Tenure next{.generation = agreement.generation, .trainer = nullptr};
  std::unique_ptr<Communicator> with_others;  // ends before the memory that it moves
  std::optional<Alarm::Guard> group_guard;
  std::optional<Alarm::Guard> trainer_guard;
  if (all_train) {
    members = trained;  // the trainers' own group is of all
  } else {
    with_others = transport_.make_group({.name = fmt::format("g{}/members", agreement.generation),
                                         .members = members,
                                         .timeout = config_.trainer.timeout,
                                         .most_channels = kFewChannels},
                                        deadline_in(config_.trainer.timeout));
    if (!with_others) {
      return false;
    }
    group_guard.emplace(alarm_, [&with_others] { with_others->abort(); });
  }
  if (current_.trainer) {
    current_.trainer->retire();
  }
  try {
    next.trainer = make_trainer(agreement);
  } catch (const PeerLost&) {
    return false;
  }
  if (next.trainer) {
    trainer_guard.emplace(alarm_, [trainer = next.trainer.get()] { trainer->groups().abort(); });
  }
  Communicator* group = all_train ? next.trainer->groups().world.get() : with_others.get();
  record.connected = seconds_since_notice();
  at(RecoveryMoment::connected);
  if (agreement.rung == Rung::in_place) {
    if (bring_state(agreement, group, members, next.trainer.get(), record) != SyncStatus::done) {
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
  if (group != nullptr) {
    group->join(group->barrier());
    if (group->wait(deadline_in(config_.trainer.timeout)) != SyncStatus::done) {
      return false;
    }
  }
  current_ = std::exchange(pending_, {});
  return true;
}

/// What ends it otherwise than all have agreed leaves this worker in need of the others.
void Worker::train() {
  Trainer& trainer = *current_.trainer;
  const Alarm::Guard guard(alarm_, [&trainer] { trainer.groups().abort(); });
  try {
    if (hooks_.on_trainer) {
      hooks_.on_trainer(trainer, recoveries_.back());
    }
    const bool is_stopped = take_steps(trainer);
    if (is_stopped || trainer.progress().steps >= config_.num_steps) {
      if (hooks_.on_end) {
        hooks_.on_end(trainer);
      }
      is_over_ = true;
    }
    arrival_ = Arrival::due;
  } catch (const PeerLost&) {
    first_sign_ = Clock::now();
    trainer.groups().abort();  // what was lost is for the meeting to find out
  } catch (const JobFailed& failure) {
    problem_ = failure.what();
    trainer.groups().abort();
  }
}

/// Until it has to meet the others; returns whether the job ends because some worker was asked to.
bool Worker::take_steps(Trainer& trainer) {
  num_refusals_ = 0;
  while (trainer.progress().steps < config_.num_steps) {
    const StepWishes wishes{.meets = trainer.rank().value() == 0 && takes_in(trainer),
                            .stops = hooks_.should_stop && hooks_.should_stop()};
    const StepResult result = trainer.step(data_, wishes);
    if (trainer.decision().step == trainer.progress().steps && result.is_finite &&
        trainer.phase() >= StepPhase::updated) {
      losses_[trainer.progress().steps] = result.sums.loss;
    }
    if (result.status != SyncStatus::done) {
      throw PeerLost("in a step");
    }
    if (result.is_finite) {
      num_refusals_ = 0;
      if (hooks_.on_step) {
        hooks_.on_step(trainer, result);
      }
    } else if (++num_refusals_ == config_.most_refusals) {
      throw JobFailed(fmt::format(
          "step {}: the sums are not finite, {} times in a row; the weights are those of step {}",
          trainer.progress().steps + 1,
          num_refusals_,
          trainer.progress().steps));
    } else if (trainer.distribute_params() != SyncStatus::done) {
      // Parameters are made anew before the step is redone, in case they were damaged.
      throw PeerLost("in the distribution of parameters");
    }
    if (result.wishes.stops || result.wishes.meets) {
      return result.wishes.stops;
    }
  }
  return false;
}

/// Whether those who wait to join are worth a meeting.
bool Worker::takes_in(const Trainer& trainer) {
  if (have_newcomers_changed_.exchange(false)) {
    std::vector<GpuId> down = trainer.plan().failed;
    for (const std::int64_t process : rendezvous_.newcomers(next_meeting_)) {
      std::erase(down, GpuId(process));
    }
    Expected<Plan, Infeasible> next = hooks_.replan(trainer.plan(), Health(std::move(down)));
    const bool is_another = next && next->layout != trainer.plan().layout;
    plan_with_newcomers_ = is_another ? std::optional(std::move(next).value()) : std::nullopt;
  }
  return plan_with_newcomers_ &&
         (!hooks_.takes_in || hooks_.takes_in(trainer, *plan_with_newcomers_));
}

/// While the others train, or go on without this worker to do so.
void Worker::stand_by(const Agreement& agreement) {
  warm_up();
  const std::vector<Member> trainers = trainers_of(agreement);
  while (!rendezvous_.is_called(next_meeting_, deadline_in(kStandBy)) &&
         !rendezvous_.has_lost(trainers)) {
  }
  arrival_ = Arrival::due;  // it holds nobody up
}

/// Until somebody joins or is lost, or it is too long.
void Worker::wait_for_others() {
  waiting_since_ = waiting_since_.value_or(Clock::now());
  const Deadline deadline = *waiting_since_ + config_.recovery.wait_for_spare;
  while (!rendezvous_.is_called(next_meeting_, std::min(deadline, deadline_in(kStandBy))) &&
         !rendezvous_.has_lost(expected_) && rendezvous_.newcomers(next_meeting_).empty() &&
         Clock::now() < deadline) {
    if (hooks_.should_stop && hooks_.should_stop()) {
      problem_ = "asked to end while it waited for workers to join: " + reason_;
      return;
    }
  }
  arrival_ = Arrival::due;  // it holds nobody up
}

}  // namespace runflat::exec
