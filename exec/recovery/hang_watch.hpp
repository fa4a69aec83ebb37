#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace runflat::exec {

/// Finds that a rank hangs, from a thread beside the one that works.
///
/// In a step that hangs all ranks stand still, but not for the same reason: who waits for a peer or
/// for its device has operations under way there. The culprit is who stands still with nothing
/// under way, which no other rank needs to be asked about. A device that hangs is not told from one
/// that waits for its peers: that is left to their time-outs.
///
/// It counts its own looks, not the time between them: a process that was stopped, or had no
/// processor, has as much time as ever when it goes on.
class HangWatch {
 public:
  static constexpr int kPatience = 10;  ///< looks

  /// `end` is called from the watch's thread, once, with what to say of a rank that has made no
  /// progress of its own for `timeout`.
  HangWatch(std::chrono::milliseconds timeout, std::function<void(const std::string& cause)> end);
  HangWatch(const HangWatch&) = delete;
  HangWatch& operator=(const HangWatch&) = delete;
  ~HangWatch();

  /// From now on, until rest(), the rank is to make progress. `is_busy`: whether operations that it
  /// was given are under way; called from the watch's thread.
  void work(std::function<bool()> is_busy);
  void rest();

  /// It makes progress: `what` (a literal) begins. Costs a few nanoseconds.
  void note(std::int64_t step, const char* what, std::int64_t index) {
    step_.store(step, std::memory_order_relaxed);
    what_.store(what, std::memory_order_relaxed);
    index_.store(index, std::memory_order_relaxed);
    count_.store(count_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }

 private:
  void look_out();
  [[nodiscard]] std::string cause() const;

  const std::chrono::milliseconds timeout_;
  const std::function<void(const std::string& cause)> end_;
  std::atomic<std::int64_t> count_ = 0;  // written by one thread
  std::atomic<std::int64_t> step_ = 0;
  std::atomic<const char*> what_ = "";
  std::atomic<std::int64_t> index_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<bool()> is_busy_;  // nullptr: it rests
  bool is_over_ = false;
  std::thread thread_;
};

}  // namespace runflat::exec
