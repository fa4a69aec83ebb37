#include "exec/recovery/rendezvous.hpp"

#include "core/document.hpp"
#include "exec/store/memory_store.hpp"
#include "tests/catch.hpp"

#include <thread>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace std::chrono_literals;

namespace {

/// Everybody who came is a member.
Agreement all_of(std::int64_t generation, const std::vector<Standing>& standings) {
  Agreement agreement;
  agreement.generation = generation;
  for (const Standing& standing : standings) {
    agreement.members.push_back(standing.member);
  }
  return agreement;
}

Standing standing_of(const Rendezvous& rendezvous) {
  Standing standing;
  standing.member = rendezvous.self();
  return standing;
}

std::vector<Member> first_lives(std::int64_t num) {
  std::vector<Member> members;
  for (std::int64_t process = 0; process < num; ++process) {
    members.push_back({process, 1});
  }
  return members;
}

/// Meets once from as many threads, of which those in `late` come when the others have gone.
std::vector<Agreement> meet(Store& store,
                            std::int64_t num,
                            const std::vector<std::int64_t>& absent,
                            Arrival arrival = Arrival::due) {
  std::vector<Agreement> agreed(static_cast<std::size_t>(num));
  std::vector<std::thread> threads;
  for (std::int64_t process = 0; process < num; ++process) {
    if (std::find(absent.begin(), absent.end(), process) != absent.end()) {
      continue;
    }
    threads.emplace_back([&, process] {
      Rendezvous rendezvous(store, {process, begin_life(store, process)}, 200ms);
      agreed[static_cast<std::size_t>(process)] = rendezvous.meet(
          0, first_lives(num), standing_of(rendezvous), arrival, [](const auto& here) {
            return all_of(0, here);
          });
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  return agreed;
}

}  // namespace

TEST_CASE("all who meet get the same agreement", "[exec][rendezvous]") {
  MemoryStore store;
  const auto agreed = meet(store, 5, {});
  for (const Agreement& agreement : agreed) {
    CHECK(agreement == agreed.front());
    CHECK(agreement.members == first_lives(5));
  }
}

TEST_CASE("nobody waits for the dead, and for the others only so long", "[exec][rendezvous]") {
  MemoryStore store;
  mark_dead(store, {3, 1}, "a test");
  const auto begin = Clock::now();
  const auto without_dead = meet(store, 4, {3});
  CHECK(without_dead[0].members == first_lives(3));
  CHECK(Clock::now() - begin < 10s);

  MemoryStore other;
  const auto without_late = meet(other, 4, {0});
  CHECK(without_late[1].members == std::vector<Member>{{1, 1}, {2, 1}, {3, 1}});

  // Who comes late finds what was agreed without it, and changes nothing.
  Rendezvous late(other, {0, begin_life(other, 0)}, 200ms);
  const Agreement found =
      late.meet(0, first_lives(4), standing_of(late), Arrival::due, [](const auto& here) {
        return all_of(0, here);
      });
  CHECK(found == without_late[1]);
  CHECK_FALSE(found.has_member(late.self()));
}

TEST_CASE("only who is in need calls the others from what they do", "[exec][rendezvous]") {
  for (const Arrival arrival : {Arrival::due, Arrival::in_need}) {
    MemoryStore store;
    static_cast<void>(meet(store, 1, {}, arrival));
    Rendezvous other(store, {1, 1}, 200ms);
    CHECK(other.is_called(0, Clock::now()));
    CHECK(other.is_needed(0) == (arrival == Arrival::in_need));
  }
  MemoryStore store;  // who does not come may hang, and hold others up
  static_cast<void>(meet(store, 2, {1}, Arrival::due));
  CHECK(Rendezvous(store, {1, 1}, 200ms).is_needed(0));
}

TEST_CASE("a process that comes back has another life", "[exec][rendezvous]") {
  MemoryStore store;
  static_cast<void>(meet(store, 2, {}));
  const Rendezvous again(store, {1, begin_life(store, 1)}, 200ms);
  CHECK(again.self() == Member{1, 2});
  CHECK_FALSE(last_agreement(store)->has_member(again.self()));
}

TEST_CASE("what a worker says and what all agree on read back to the bit", "[exec][rendezvous]") {
  Standing standing;
  standing.member = {3, 2};
  standing.generation = 5;
  standing.progress = {.steps = 7, .consumed_samples = 84};
  standing.decision = {.step = 7, .squared_sum = 0.1, .tokens = 3.0, .loss = 1.0 / 3.0};
  standing.waited = 0.1;
  const Value value = parse_json(to_json_text(to_value(standing), -1), "standing");
  CHECK(read_standing(Reader(value, "standing")) == standing);
  Agreement agreement{.generation = 6,
                      .members = {{1, 1}, {3, 2}},
                      .rung = Rung::stop,
                      .reason = "no reason",
                      .attempt = 2,
                      .base_generation = 5,
                      .holders = {3},
                      .progress = standing.progress,
                      .decision = standing.decision,
                      .waited = 1.0 / 3.0,
                      .plan = std::nullopt};
  const Value text = parse_json(to_json_text(to_value(agreement), -1), "agreement");
  CHECK(read_agreement(Reader(text, "agreement")) == agreement);
}
