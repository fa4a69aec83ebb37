#include "exec/recovery/hang_watch.hpp"

#include "tests/catch.hpp"

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace std::chrono_literals;

namespace {

constexpr auto kTimeout = 100ms;

/// A watch, and what it has said.
class Watched {
 public:
  HangWatch watch{kTimeout, [this](const std::string& cause) {
                    const std::lock_guard lock(mutex_);
                    causes_.push_back(cause);
                  }};

  [[nodiscard]] std::vector<std::string> causes() {
    const std::lock_guard lock(mutex_);
    return causes_;
  }
  [[nodiscard]] bool is_ended_within(std::chrono::milliseconds time) {
    const auto deadline = std::chrono::steady_clock::now() + time;
    while (causes().empty() && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(1ms);
    }
    return !causes().empty();
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> causes_;
};

bool is_idle() {
  return false;
}

}  // namespace

TEST_CASE("a rank that stands still with nothing under way hangs, which is said once",
          "[exec][hang]") {
  Watched rank;
  rank.watch.work(&is_idle);
  rank.watch.note(3, "forward", 5);
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(rank.is_ended_within(10s));
  CHECK(std::chrono::steady_clock::now() - begin >= kTimeout);
  std::this_thread::sleep_for(3 * kTimeout);
  CHECK(rank.causes() ==
        std::vector<std::string>{"hang: no progress for 0.1 s at step 3, forward 5"});
}

TEST_CASE("a rank that makes progress, waits for others or rests does not hang", "[exec][hang]") {
  Watched rank;
  SECTION("progress") {
    rank.watch.work(&is_idle);
    for (int i = 0; i < 200; ++i) {
      rank.watch.note(1, "forward", 0);  // the same again and again, as in a step that is redone
      std::this_thread::sleep_for(2ms);
    }
  }
  SECTION("waiting") {
    rank.watch.work([] { return true; });
    std::this_thread::sleep_for(4 * kTimeout);
  }
  SECTION("rest") {
    rank.watch.work(&is_idle);
    rank.watch.rest();
    std::this_thread::sleep_for(4 * kTimeout);
  }
  CHECK(rank.causes().empty());
}

TEST_CASE("what was under way when a rank hangs has to end first", "[exec][hang]") {
  Watched rank;
  std::atomic<bool> is_busy = true;
  rank.watch.work([&] { return is_busy.load(); });
  std::this_thread::sleep_for(2 * kTimeout);
  CHECK(rank.causes().empty());
  is_busy = false;
  CHECK(rank.is_ended_within(10s));
  rank.watch.rest();
}
