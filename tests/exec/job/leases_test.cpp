#include "exec/job/leases.hpp"

#include "exec/recovery/rendezvous.hpp"
#include "exec/store/memory_store.hpp"
#include "tests/catch.hpp"

#include <deque>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace std::chrono_literals;

namespace {

/// The agents of so many places; that of place p has the workers 2p and 2p + 1, in their first
/// life.
struct Agents {
  explicit Agents(std::int64_t num) {
    for (std::int64_t place = 0; place < num; ++place) {
      const std::vector<std::int64_t> workers = {2 * place, 2 * place + 1};
      leases.emplace_back(store, place, num, workers, 10s);
      for (const std::int64_t worker : workers) {
        static_cast<void>(begin_life(store, worker));
      }
    }
  }

  void beat(const std::vector<std::size_t>& places, std::int64_t times = 1) {
    for (std::int64_t i = 0; i < times; ++i) {
      for (const std::size_t place : places) {
        leases[place].beat();
      }
    }
  }

  [[nodiscard]] bool is_marked(std::int64_t place) {
    return is_dead(store, {2 * place, 1}) && is_dead(store, {2 * place + 1, 1});
  }

  MemoryStore store;
  std::deque<Leases> leases;
};

}  // namespace

TEST_CASE("agents that beat are not lost, nor are those that have not come", "[exec][agent]") {
  Agents agents(3);
  agents.beat({0, 1}, 100);
  for (const std::int64_t place : {0, 1, 2}) {
    CHECK_FALSE(agents.is_marked(place));
    CHECK_FALSE(agents.leases[static_cast<std::size_t>(place)].was_lost());
  }
}

TEST_CASE("the workers of an agent that stands still for ten beats of another are marked",
          "[exec][agent]") {
  Agents agents(2);
  agents.beat({0, 1});
  agents.beat({0}, Leases::kPatience);  // the first sees its last beat
  CHECK_FALSE(agents.is_marked(1));
  agents.beat({0});
  REQUIRE(agents.is_marked(1));
  CHECK_FALSE(agents.is_marked(0));
  const auto death = find_death(agents.store, {2, 1});
  CHECK(death->cause == "host lost: no sign of its agent for 10 s");
  CHECK(death->was_silent);
  CHECK(is_gone(agents.store, 2));
}

TEST_CASE("an agent that was only slow learns it once, and its next lives are its own",
          "[exec][agent]") {
  Agents agents(2);
  agents.beat({1});
  agents.beat({0}, 20);
  CHECK(agents.leases[1].was_lost());
  CHECK_FALSE(agents.leases[1].was_lost());
  for (const std::int64_t worker : {2, 3}) {
    CHECK(begin_life(agents.store, worker) == 2);
  }
  agents.beat({0}, 20);
  CHECK_FALSE(is_dead(agents.store, {2, 2}));
  agents.beat({1});
  agents.beat({0}, 20);  // and is lost again
  CHECK(is_dead(agents.store, {2, 2}));
  CHECK(agents.leases[1].was_lost());
}

TEST_CASE("several that find an agent lost mark its workers once", "[exec][agent]") {
  Agents agents(4);
  agents.beat({0, 1, 2, 3});
  mark_dead(agents.store, {4, 1}, "was killed by SIGKILL");  // known already
  agents.beat({0, 1, 3}, 20);
  REQUIRE(agents.is_marked(2));
  CHECK(find_death(agents.store, {4, 1})->cause == "was killed by SIGKILL");
  CHECK_FALSE(is_gone(agents.store, 4));
  for (const std::int64_t place : {0, 1, 3}) {
    CHECK_FALSE(agents.is_marked(place));
  }
}

TEST_CASE("whichever agents are lost, those that are left find it", "[exec][agent]") {
  constexpr std::int64_t kNum = 7;
  for (std::int64_t left = 1; left < (1 << kNum); ++left) {
    Agents agents(kNum);
    std::vector<std::size_t> all;
    std::vector<std::size_t> living;
    for (std::size_t place = 0; place < kNum; ++place) {
      all.push_back(place);
      if ((left >> place & 1) != 0) {
        living.push_back(place);
      }
    }
    agents.beat(all, 3);
    agents.beat(living, 2 * Leases::kPatience + 2);  // the watchers, and then the others
    for (std::int64_t place = 0; place < kNum; ++place) {
      CAPTURE(left, place);
      CHECK(agents.is_marked(place) == ((left >> place & 1) == 0));
    }
  }
}

TEST_CASE("of many agents, each asks the store about few others", "[exec][agent]") {
  class CountingStore : public MemoryStore {
   public:
    std::optional<std::string> get(std::string_view key) override {
      ++num_gets;
      return MemoryStore::get(key);
    }
    std::int64_t num_gets = 0;
  };
  constexpr std::int64_t kNum = 200;
  CountingStore store;
  std::deque<Leases> leases;
  for (std::int64_t place = 0; place < kNum; ++place) {
    leases.emplace_back(store, place, kNum, std::vector<std::int64_t>{place}, 10s);
  }
  for (int beat = 0; beat < 2; ++beat) {
    store.num_gets = 0;
    for (Leases& lease : leases) {
      lease.beat();
    }
  }
  CHECK(store.num_gets <= 2 * Leases::kNumWatchers * kNum);
}
