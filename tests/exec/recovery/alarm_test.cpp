#include "exec/recovery/alarm.hpp"

#include "tests/catch.hpp"

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>

using namespace runflat;
using namespace runflat::exec;
using namespace std::chrono_literals;

namespace {

void wait_until_raised(const Alarm& alarm) {
  const Deadline deadline = deadline_in(10s);
  while (!alarm.is_raised() && Clock::now() < deadline) {
    std::this_thread::sleep_for(1ms);
  }
  REQUIRE(alarm.is_raised());
}

}  // namespace

TEST_CASE("an alarm ends what stands under it, and that alone", "[exec][alarm]") {
  std::atomic<bool> is_due = false;
  std::atomic<int> num_ended = 0;
  Alarm alarm(1ms);
  const Alarm::Guard guarded(alarm, [&] { num_ended += 1; });
  {
    const Alarm::Guard gone(alarm, [&] { num_ended += 100; });
  }
  alarm.set([&] { return is_due.load(); });
  std::this_thread::sleep_for(20ms);
  CHECK_FALSE(alarm.is_raised());
  const Clock::time_point before = Clock::now();
  is_due = true;
  wait_until_raised(alarm);
  alarm.clear();  // after all of them have been ended
  CHECK(num_ended == 1);
  CHECK(before <= alarm.raised_at());
  CHECK_FALSE(alarm.is_raised());
}

TEST_CASE("what comes under a raised alarm ends at once", "[exec][alarm]") {
  Alarm alarm(1ms);
  alarm.set([] { return true; });
  wait_until_raised(alarm);
  bool has_ended = false;
  const Alarm::Guard late(alarm, [&] { has_ended = true; });
  CHECK(has_ended);
  alarm.set([] { return false; });
  CHECK_FALSE(alarm.is_raised());
}

TEST_CASE("an alarm that cannot look out is raised", "[exec][alarm]") {
  Alarm alarm(1ms);
  alarm.set([]() -> bool { throw std::runtime_error("the store is gone"); });
  wait_until_raised(alarm);
}
