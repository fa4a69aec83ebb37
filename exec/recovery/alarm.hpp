#pragma once

#include "exec/communication/communicator.hpp"
#include "exec/communication/transport.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

namespace runflat::exec {

/// Ends communication that waits for somebody who will not come. A device does not see the death of
/// a peer, and neither does a group that is still being made: a thread looks out for them, every
/// `period`, and when there is reason to, the alarm is raised and whatever stands under it ended.
class Alarm {
 public:
  explicit Alarm(std::chrono::milliseconds period);
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;
  ~Alarm();

  /// From now on looks out for `is_due`, which is called from the alarm's thread; what it throws
  /// raises the alarm too.
  void set(std::function<bool()> is_due);
  /// Looks out no more, and is not raised any more.
  void clear();

  [[nodiscard]] bool is_raised() const { return is_raised_; }
  /// When it was, while it is.
  [[nodiscard]] Clock::time_point raised_at() const;

  /// While it lives, `end` is called once the alarm is raised, at once if it is; never afterwards.
  class Guard {
   public:
    Guard(Alarm& alarm, std::function<void()> end);
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    ~Guard();

   private:
    Alarm& alarm_;
    std::int64_t number_ = 0;
  };

 private:
  void look_out();
  void raise();

  const std::chrono::milliseconds period_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::function<bool()> is_due_;
  std::map<std::int64_t, std::function<void()>> guarded_;
  std::int64_t num_guards_ = 0;
  bool is_over_ = false;
  std::atomic<bool> is_raised_ = false;
  Clock::time_point raised_at_;
  std::thread thread_;
};

/// A transport whose groups are given up once the alarm is raised.
class AlarmedTransport : public Transport {
 public:
  AlarmedTransport(Transport& transport, const Alarm& alarm)
      : transport_(transport), alarm_(alarm) {}

  [[nodiscard]] std::int64_t process() const override { return transport_.process(); }
  [[nodiscard]] std::vector<std::unique_ptr<Communicator>> make_groups(
      std::span<const GroupSpec> groups, Deadline deadline) override;

 private:
  Transport& transport_;
  const Alarm& alarm_;
};

}  // namespace runflat::exec
