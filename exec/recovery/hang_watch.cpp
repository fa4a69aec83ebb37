#include "exec/recovery/hang_watch.hpp"

#include <fmt/format.h>
#include <utility>

namespace runflat::exec {

HangWatch::HangWatch(std::chrono::milliseconds timeout,
                     std::function<void(const std::string& cause)> end)
    : timeout_(timeout), end_(std::move(end)), thread_([this] { look_out(); }) {}

HangWatch::~HangWatch() {
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void HangWatch::work(std::function<bool()> is_busy) {
  const std::lock_guard lock(mutex_);
  is_busy_ = std::move(is_busy);
}

void HangWatch::rest() {
  const std::lock_guard lock(mutex_);
  is_busy_ = nullptr;
}

void HangWatch::look_out() {
  std::unique_lock lock(mutex_);
  std::int64_t last = -1;
  int num_still = 0;  // looks at which nothing had changed and nothing was under way
  while (!changed_.wait_for(lock, timeout_ / kPatience, [this] { return is_over_; })) {
    const std::int64_t count = count_.load(std::memory_order_acquire);
    const bool stands_still = is_busy_ != nullptr && count == std::exchange(last, count);
    num_still = stands_still && !is_busy_() ? num_still + 1 : 0;
    if (num_still == kPatience) {
      is_busy_ = nullptr;
      end_(cause());
    }
  }
}

std::string HangWatch::cause() const {
  return fmt::format("hang: no progress for {:g} s at step {}, {} {}",
                     std::chrono::duration<double>(timeout_).count(),
                     step_.load(std::memory_order_relaxed),
                     what_.load(std::memory_order_relaxed),
                     index_.load(std::memory_order_relaxed));
}

}  // namespace runflat::exec
