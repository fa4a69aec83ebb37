#include "sim/event_queue.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"

#include <algorithm>
#include <cstdint>
#include <random>
#include <utility>
#include <variant>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

TEST_CASE("events leave in the order of time, and of pushes among equals", "[sim][event_queue]") {
  const int time_range = GENERATE(1, 3, 50, 100000);
  std::mt19937 generator{static_cast<unsigned>(time_range)};
  EventQueue<int> queue;
  std::vector<std::pair<SimTime, int>> expected;
  for (int i = 0; i < 2000; ++i) {
    const SimTime time{static_cast<std::int64_t>(generator() % static_cast<unsigned>(time_range))};
    queue.push(time, i);
    expected.emplace_back(time, i);
  }
  std::sort(expected.begin(), expected.end());
  std::vector<std::pair<SimTime, int>> found;
  CHECK(run_events(queue, kNever, [&](SimTime time, int event, auto&) {
          found.emplace_back(time, event);
        }) == 2000);
  CHECK(found == expected);
  CHECK(queue.empty());
}

TEST_CASE("pushes between pops keep the order of (time, push)", "[sim][event_queue]") {
  // The reference is a sorted list of (time, push number).
  const std::int64_t start = GENERATE(0, -5000, std::int64_t{1} << 40);
  std::mt19937_64 generator{8};
  EventQueue<std::int64_t> queue{SimTime{start}};
  std::vector<std::pair<SimTime, std::int64_t>> reference;
  std::int64_t num_pushed = 0;
  for (int i = 0; i < 20000; ++i) {
    if (generator() % 2 == 0 || reference.empty()) {
      const std::uint64_t range = std::uint64_t{1} << (generator() % 12);
      const SimTime time = queue.now() + SimTime{generator() % range};
      queue.push(time, num_pushed);
      reference.emplace_back(time, num_pushed++);
    } else {
      const auto first = std::min_element(reference.begin(), reference.end());
      const auto entry = queue.pop();
      REQUIRE(entry.has_value());
      REQUIRE(std::pair(entry->time, entry->event) == *first);
      REQUIRE(queue.now() == first->first);
      reference.erase(first);
    }
    REQUIRE(queue.size() == reference.size());
  }
}

TEST_CASE("an event later than the end stays, and earlier ones may still be pushed",
          "[sim][event_queue]") {
  EventQueue<char> queue;
  queue.push(SimTime{100}, 'c');
  CHECK_FALSE(queue.pop_until(SimTime{50}).has_value());
  CHECK(queue.now() == SimTime{0});
  queue.push(SimTime{40}, 'a');
  queue.push(SimTime{60}, 'b');
  CHECK(queue.pop_until(SimTime{50})->event == 'a');
  CHECK_FALSE(queue.pop_until(SimTime{59}).has_value());
  CHECK(queue.pop_until(SimTime{60})->event == 'b');
  CHECK(queue.pop()->event == 'c');
  CHECK_FALSE(queue.pop().has_value());
}

TEST_CASE("an event in the past is refused", "[sim][event_queue]") {
  EventQueue<int> queue;
  queue.push(SimTime{10}, 0);
  REQUIRE(queue.pop().has_value());
  CHECK_THROWS_AS(queue.push(SimTime{9}, 0), InvalidArgument);
  CHECK_NOTHROW(queue.push(SimTime{10}, 0));
  CHECK_NOTHROW(queue.push(kNever, 0));
  CHECK(queue.pop()->time == SimTime{10});
  CHECK(queue.pop()->time == kNever);
}

namespace {

struct Failure {
  int gpu;
};
struct Repair {
  int gpu;
};
using JobEvent = std::variant<Failure, Repair>;

}  // namespace

TEST_CASE("a machine that fails and is repaired alternates as its closed form says",
          "[sim][event_queue]") {
  // Up 3, down 2, from time 0: by time 5 n it has failed n times and been down 2 n.
  EventQueue<JobEvent> queue;
  queue.push(SimTime{3}, Failure{0});
  int num_failures = 0;
  SimTime down{};
  SimTime failed_at{};
  run_events(queue, SimTime{5000}, [&](SimTime now, const JobEvent& event, auto& pending) {
    if (std::holds_alternative<Failure>(event)) {
      ++num_failures;
      failed_at = now;
      pending.push(now + SimTime{2}, Repair{0});
    } else {
      down += now - failed_at;
      pending.push(now + SimTime{3}, Failure{0});
    }
  });
  CHECK(num_failures == 1000);
  CHECK(down == SimTime{2000});
}
