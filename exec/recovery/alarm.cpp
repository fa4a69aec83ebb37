#include "exec/recovery/alarm.hpp"

#include <exception>
#include <utility>
#include <vector>

namespace runflat::exec {

Alarm::Alarm(std::chrono::milliseconds period) : period_(period), thread_([this] { look_out(); }) {}

Alarm::~Alarm() {
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Alarm::set(std::function<bool()> is_due) {
  {
    const std::lock_guard lock(mutex_);
    is_due_ = std::move(is_due);
    is_raised_ = false;
  }
  changed_.notify_all();
}

void Alarm::clear() {
  set(nullptr);
}

Clock::time_point Alarm::raised_at() const {
  const std::lock_guard lock(mutex_);
  return raised_at_;
}

void Alarm::look_out() {
  std::unique_lock lock(mutex_);
  while (!is_over_) {
    if (is_due_ == nullptr || is_raised_) {
      changed_.wait(lock, [this] { return is_over_ || (is_due_ != nullptr && !is_raised_); });
      continue;
    }
    bool is_due = true;
    try {
      is_due = is_due_();
    } catch (const std::exception&) {
      // Whoever is waked meets the same obstacle, and says so.
    }
    if (is_due) {
      raise();
    } else {
      changed_.wait_for(lock, period_, [this] { return is_over_; });
    }
  }
}

void Alarm::raise() {
  is_raised_ = true;
  raised_at_ = Clock::now();
  for (const auto& [number, end] : guarded_) {
    end();
  }
}

Alarm::Guard::Guard(Alarm& alarm, std::function<void()> end) : alarm_(alarm) {
  const std::lock_guard lock(alarm_.mutex_);
  if (alarm_.is_raised_) {
    end();
  }
  number_ = ++alarm_.num_guards_;
  alarm_.guarded_.emplace(number_, std::move(end));
}

Alarm::Guard::~Guard() {
  const std::lock_guard lock(alarm_.mutex_);
  alarm_.guarded_.erase(number_);
}

std::vector<std::unique_ptr<Communicator>> AlarmedTransport::make_groups(
    std::span<const GroupSpec> groups, Deadline deadline) {
  std::vector<GroupSpec> watched(groups.begin(), groups.end());
  for (GroupSpec& group : watched) {
    group.is_interrupted = [this] { return alarm_.is_raised(); };
  }
  return transport_.make_groups(watched, deadline);
}

}  // namespace runflat::exec
