#include "exec/job/agent.hpp"

#include "core/document.hpp"
#include "core/reader.hpp"
#include "exec/job/exit_status.hpp"
#include "exec/job/job_worker.hpp"
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
constexpr std::chrono::seconds kGrace{5};  // for a worker that was left out to find that
constexpr const char* kFailedKey = "failed";

std::string gone_key(std::int64_t process) {
  return fmt::format("gone/{}", process);
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
  for (const WorkerProcess& place : config_.workers) {
    workers_.push_back({.place = place});
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
    for (Worker& worker : workers_) {
      look_after(worker);
    }
    look_at_job();
  }
  return how_it_ended();
}

void Agent::start(Worker& worker) {
  worker.place.life = begin_life(store_, worker.place.process);
  worker.child = std::make_unique<ChildProcess>(
      config_.program, config_.arguments, to_environment(worker.place));
  ++worker.num_starts;
  worker.starts_at_step.reset();
  worker.stopped_since.reset();
  worker.is_dying = false;
  worker.was_in = false;
  worker.left_out_since.reset();
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
    mark_dead(
        store_, {.process = worker.place.process, .life = worker.place.life}, killed_by(signal));
  }
}

void Agent::end_what_does_not_go_on(Worker& worker) {
  if (is_longer_than(
          worker.stopped_since, worker.child->is_stopped(), config_.recovery.hang_timeout)) {
    worker.child->send(SIGKILL);
  }
  const bool is_in =
      last_ && last_->has_member({.process = worker.place.process, .life = worker.place.life});
  worker.was_in = worker.was_in || is_in;
  if (is_longer_than(worker.left_out_since, worker.was_in && !is_in, kGrace)) {
    worker.child->send(SIGKILL);
  }
}

void Agent::note_end(Worker& worker) {
  const ChildProcess& child = *worker.child;
  const std::int64_t process = worker.place.process;
  worker.end = AgentEnd{.status = child.status(), .reason = child.reason()};
  const std::string what = child.describe();
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
  mark_dead(store_, {.process = process, .life = worker.place.life}, what);
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
  worker.is_gone = worker.num_starts > config_.recovery.max_restarts || repair == "never";
  worker.may_start = Clock::now() + config_.recovery.restart_delay;
  if (repair && !worker.is_gone) {
    worker.starts_at_step = std::stoll(*repair);
  }
  store_.remove(key);
  if (worker.is_gone) {
    store_.set(gone_key(worker.place.process), "");
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
  const bool are_all_gone = std::all_of(
      config_.all_processes.begin(), config_.all_processes.end(), [this](std::int64_t process) {
        return store_.get(gone_key(process));
      });
  return has_ended() || are_all_gone;
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
