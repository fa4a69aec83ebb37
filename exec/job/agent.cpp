#include "exec/job/agent.hpp"

#include "core/document.hpp"
#include "core/reader.hpp"
#include "exec/job/exit_status.hpp"
#include "exec/job/job_faults.hpp"
#include "exec/recovery/rendezvous.hpp"

#include <algorithm>
#include <csignal>
#include <ctime>
#include <fmt/format.h>
#include <iostream>
#include <utility>

namespace runflat::exec {
namespace {

constexpr long kPollNanoseconds = 10'000'000;
constexpr std::chrono::seconds kGrace{5};        // for a worker that was left out to find that
constexpr std::chrono::seconds kErrorMemory{1};  // in which an error explains an end
constexpr const char* kFailedKey = "failed";

Member member_of(const WorkerProcess& place) {
  return {.process = place.process, .life = place.life};
}

sigset_t watched_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGCHLD}) {
    ::sigaddset(&signals, signal);
  }
  return signals;
}

/// The next of the signals, or 0 when none comes for a while.
int wait_for_signal() {
  const sigset_t signals = watched_signals();
  const timespec pause{.tv_sec = 0, .tv_nsec = kPollNanoseconds};
  const int signal = ::sigtimedwait(&signals, nullptr, &pause);
  return std::max(signal, 0);
}

bool is_longer_than(std::optional<Clock::time_point>& since,
                    bool is_so,
                    std::chrono::milliseconds time) {
  since = is_so ? std::optional(since.value_or(Clock::now())) : std::nullopt;
  return since && Clock::now() - *since >= time;
}

}  // namespace

Agent::Agent(AgentConfig config, Store& store) : config_(std::move(config)), store_(store) {
  std::vector<std::int64_t> processes;
  for (const WorkerProcess& place : config_.workers) {
    workers_.push_back({.place = place});
    processes.push_back(place.process);
  }
  if (config_.num_places > 1) {
    leases_.emplace(
        store, config_.place, config_.num_places, processes, config_.recovery.lost_host_timeout);
  }
}

AgentEnd Agent::run() {
  const sigset_t signals = watched_signals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  for (Worker& worker : workers_) {
    start(worker);
  }
  while (!is_over()) {
    const int signal = wait_for_signal();
    if (signal == SIGTERM) {
      for (const Worker& worker : workers_) {
        if (worker.child) {
          worker.child->send(SIGTERM);
        }
      }
    }
    is_interrupted_ = signal == SIGINT;
    look_at_gpus();
    for (Worker& worker : workers_) {
      look_after(worker);
    }
    look_at_job();
    look_at_agents();
  }
  return how_it_ended();
}

void Agent::start(Worker& worker) {
  worker.place.life = begin_life(store_, worker.place.process);
  if (worker.num_starts == 0 && worker.place.life > 1) {  // of an agent that this one replaces
    mark_dead(store_, {worker.place.process, worker.place.life - 1}, "its agent ended");
  }
  worker.child = std::make_unique<ChildProcess>(
      config_.program, config_.arguments, to_environment(worker.place));
  ++worker.num_starts;
  worker.starts_at_step.reset();
  worker.stopped_since.reset();
  worker.is_dying = false;
  worker.was_in = false;
  worker.left_out_since.reset();
  worker.ended_for.clear();
  worker.error_at = {};
}

void Agent::look_after(Worker& worker) {
  if (worker.child) {
    if (worker.child->has_ended()) {
      note_end(worker);
    } else {
      note_fatal_signal(worker);
      end_what_does_not_go_on(worker);
    }
  } else if (!worker.is_gone && !has_ended() && Clock::now() >= worker.may_start) {
    // A job that waits takes no step that could be waited for.
    const bool is_repaired =
        !worker.starts_at_step || (last_ && last_->rung == Rung::wait) ||
        std::stoll(store_.get(kStepsKey).value_or("0")) >= *worker.starts_at_step;
    if (is_repaired) {
      start(worker);
    }
  }
}

/// The others need not wait until the system has taken the worker's GPU from it.
void Agent::note_fatal_signal(Worker& worker) {
  const int signal = worker.is_dying ? 0 : worker.child->fatal_signal();
  if (signal != 0) {
    worker.is_dying = true;
    mark_dead(store_, member_of(worker.place), explained(worker, killed_by(signal)));
  }
}

void Agent::end_what_does_not_go_on(Worker& worker) {
  const std::chrono::milliseconds patience = config_.recovery.hang_timeout;
  if (is_longer_than(worker.stopped_since, worker.child->is_stopped(), patience)) {
    const std::chrono::duration<double> seconds = patience;
    end(worker, fmt::format("hang: stopped for {:g} s", seconds.count()), patience);
  }
  const bool is_in = last_ && last_->has_member(member_of(worker.place));
  worker.was_in = worker.was_in || is_in;
  if (is_longer_than(worker.left_out_since, worker.was_in && !is_in, kGrace)) {
    end(worker, "hang: it did not come to meet the others", kGrace);
  }
}

/// Marks it as dead without waiting for its end: a process that waits for its GPU may not die.
void Agent::end(Worker& worker, const std::string& cause, std::chrono::milliseconds silence) {
  if (!worker.ended_for.empty()) {
    return;
  }
  worker.ended_for = cause;
  worker.child->send(SIGKILL);  // first: a stopped one may hold the lock of the Store
  mark_dead(store_, member_of(worker.place), cause, silence);
}

std::string Agent::explained(const Worker& worker, const std::string& end) {
  return Clock::now() - worker.error_at < kErrorMemory ? end + "; " + worker.error : end;
}

void Agent::note_end(Worker& worker) {
  const ChildProcess& child = *worker.child;
  const std::int64_t process = worker.place.process;
  worker.end = AgentEnd{.status = child.status(), .reason = child.reason()};
  const std::string what = worker.ended_for.empty() ? explained(worker, child.describe())
                                                    : "was killed: " + worker.ended_for;
  worker.child.reset();
  if (worker.end->status == 0) {
    worker.is_gone = true;
    return;
  }
  if (worker.end->reason.empty()) {
    worker.end->reason = fmt::format("process {} {}", process, what);
  }
  look_at_job();
  if (has_ended()) {
    worker.is_gone = true;
    return;
  }
  const bool is_bad_input = worker.end->status == kBadInput || worker.end->status == kInfeasible;
  if (worker.end->status > 0 && (!has_begun_ || (is_bad_input && worker.num_starts == 1))) {
    const Value failure =
        Value::Object{{"status", worker.end->status}, {"reason", worker.end->reason}};
    static_cast<void>(store_.compare_set(kFailedKey, std::nullopt, to_json_text(failure, -1)));
    worker.is_gone = true;
    return;
  }
  mark_dead(store_, member_of(worker.place), what);
  causes_.push_back(fmt::format("process {} {}", process, what));
  plan_restart(worker);
  std::cerr << fmt::format("runflat-agent: {}{}\n",
                           causes_.back(),
                           worker.is_gone ? "; it stays away" : "; it is started again")
            << std::flush;
}

void Agent::plan_restart(Worker& worker) {
  const std::string key = repair_key(worker.place.process);
  const std::optional<std::string> repair = store_.get(key);
  const bool stays_away =
      worker.num_starts > config_.recovery.max_restarts || worker.needs_reset || repair == "never";
  worker.may_start = Clock::now() + config_.recovery.restart_delay;
  if (repair && !stays_away) {
    worker.starts_at_step = std::stoll(*repair);
  }
  store_.remove(key);
  if (stays_away) {
    set_gone_for_ever(worker);
  }
}

void Agent::set_gone_for_ever(Worker& worker) {
  worker.is_gone = true;
  set_gone(store_, worker.place.process, true);
}

void Agent::look_at_gpus() {
  if (!config_.take_xids) {
    return;
  }
  for (const XidEvent& event : config_.take_xids()) {
    for (Worker& worker : workers_) {
      if (worker.place.local_rank == event.gpu) {
        note_error(worker, event.xid);
      }
    }
  }
}

void Agent::note_error(Worker& worker, std::int64_t xid) {
  const XidRemedy remedy = remedy_of(xid);
  const Clock::time_point now = Clock::now();
  if (remedy != XidRemedy::none || now - worker.error_at >= kErrorMemory) {  // others follow it
    worker.error = describe_xid(xid);
    worker.error_at = now;
  }
  worker.needs_reset = worker.needs_reset || remedy == XidRemedy::reset;
  if (worker.child && remedy != XidRemedy::none) {
    end(worker, worker.error, {});
  } else if (worker.needs_reset && !worker.child && !worker.is_gone) {
    set_gone_for_ever(worker);
  }
}

void Agent::look_at_job() {
  if (const auto text = store_.get(kFailedKey)) {
    const Value value = parse_json(*text, kFailedKey);
    ObjectReader members = Reader(value, kFailedKey).object();
    failed_ = AgentEnd{.status = static_cast<int>(members.at("status").integer(1, 255)),
                       .reason = members.at("reason").text()};
    return;
  }
  has_begun_ = has_begun_ || has_begun(store_);
  if (last_generation(store_) > (last_ ? last_->generation : -1)) {
    last_ = last_agreement(store_);
    if (last_ && last_->rung == Rung::wait) {
      std::cerr << "runflat-agent: waits for workers to join: " + last_->reason + "\n"
                << std::flush;
    }
  }
}

void Agent::look_at_agents() {
  if (!leases_ || has_ended() || Clock::now() < next_beat_) {
    return;
  }
  next_beat_ = Clock::now() + config_.recovery.lost_host_timeout / Leases::kPatience;
  leases_->beat();
  if (!leases_->was_lost()) {
    return;
  }
  for (Worker& worker : workers_) {
    if (!worker.is_gone) {
      set_gone(store_, worker.place.process, false);
    }
    const Member member = member_of(worker.place);
    if (worker.child && is_dead(store_, member)) {
      end(worker, "its agent had given no sign", {});
    }
  }
}

bool Agent::has_ended() const {
  return last_ && (last_->rung == Rung::finish || last_->rung == Rung::stop);
}

bool Agent::is_over() const {
  const bool has_child = std::any_of(workers_.begin(), workers_.end(), [](const Worker& worker) {
    return worker.child != nullptr;
  });
  if (is_interrupted_ || failed_) {
    return true;
  }
  if (has_child) {
    return false;
  }
  if (has_ended()) {
    return true;
  }
  const bool are_own_gone =
      std::all_of(workers_.begin(), workers_.end(), [](const Worker& it) { return it.is_gone; });
  return are_own_gone &&
         std::all_of(config_.all_processes.begin(),
                     config_.all_processes.end(),
                     [this](std::int64_t process) { return is_gone(store_, process); });
}

AgentEnd Agent::how_it_ended() const {
  if (is_interrupted_) {
    return {.status = 128 + SIGINT, .reason = "interrupted"};
  }
  if (failed_) {
    return *failed_;
  }
  if (!has_ended()) {
    return {.status = kPeerLost, .reason = causes_.empty() ? "no worker is left" : causes_.back()};
  }
  if (last_->rung == Rung::finish) {
    return {};
  }
  for (const Worker& worker : workers_) {
    if (worker.end && worker.end->status > 0 && worker.end->status != kFenced) {
      return *worker.end;
    }
  }
  return {.status = kPeerLost, .reason = last_->reason};
}

}  // namespace runflat::exec
