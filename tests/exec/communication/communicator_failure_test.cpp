#include "exec/communication/communicator.hpp"
#include "tests/catch.hpp"
#include "tests/exec/worlds.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace runflat::tests;

// A peer that dies must be noticed at once: groups here have timeouts of 20 s, so that a rank that
// only notices by its timeout says timed_out and not peer_lost.

namespace {

using Results = std::vector<std::string>;

/// All-reduces until it fails; adds 1 to `ready` after the first.
SyncStatus reduce_until_failure(Communicator& group, Store& store, std::int64_t num) {
  std::vector<float> data(static_cast<std::size_t>(num), 1.F);
  for (bool is_first = true; group.status() == SyncStatus::done; is_first = false) {
    group.join(group.all_reduce(data.data(), num, DataType::fp32, ReduceOp::max));
    if (is_first) {
      store.add("ready", 1);
    }
  }
  return group.status();
}

void wait_for_ready(Store& store, std::int64_t num) {
  const Deadline deadline = deadline_in(20s);
  while (store.get("ready") != std::to_string(num) && Clock::now() < deadline) {
    std::this_thread::sleep_for(1ms);
  }
}

std::int64_t sum_of_processes(TestRank& self, Communicator& group) {
  std::int64_t sum = self.transport.process();
  group.join(group.all_reduce(&sum, 1, DataType::int64, ReduceOp::sum));
  return group.status() == SyncStatus::done ? sum : -1;
}

}  // namespace

TEST_CASE("a process that is killed is lost to the others at once", "[exec][failure]") {
  const std::int64_t num = GENERATE(1, 100'000);  // small messages; large ones, cut in the middle
  const TemporaryDirectory directory;
  const auto store = make_store("dir:" + directory.path().string(), 10s);
  Processes processes(4, [&](TestRank& self) -> std::string {
    return name_of(reduce_until_failure(self.world, *store, num));
  });
  wait_for_ready(*store, 4);
  processes.kill(2, SIGKILL);
  CHECK(processes.results() == Results{"peer_lost", "peer_lost", "dead", "peer_lost"});
}

TEST_CASE("a process that is stopped makes the others time out, and they go on without it",
          "[exec][failure]") {
  const TemporaryDirectory directory;
  const auto store = make_store("dir:" + directory.path().string(), 10s);
  Processes processes(4, [&](TestRank& self) -> std::string {
    GroupSpec spec = world_spec(4);
    spec.name = "impatient";
    spec.timeout = 300ms;
    const auto group = self.transport.make_group(spec, deadline_in(20s));
    if (!group || reduce_until_failure(*group, *store, 1000) == SyncStatus::done) {
      return "not noticed";
    }
    if (group->rank() == 1) {
      return "woken up";
    }
    const auto rest =
        self.transport.make_group({.name = "the others", .members = {0, 2, 3}}, deadline_in(20s));
    return rest ? std::to_string(sum_of_processes(self, *rest)) : "no group";
  });
  wait_for_ready(*store, 4);
  processes.kill(1, SIGSTOP);
  for (const std::size_t rank : {0U, 2U, 3U}) {
    CHECK(processes.result(rank) == "5");
  }
  processes.kill(1, SIGCONT);
  CHECK(processes.result(1) == "woken up");
}

TEST_CASE("a message that is half there is lost with its sender", "[exec][failure]") {
  const TemporaryDirectory directory;
  const auto store = make_store("dir:" + directory.path().string(), 10s);
  Processes processes(2, [&](TestRank& self) -> std::string {
    std::vector<std::byte> data(std::size_t{64} << 20);
    const std::int64_t peer = 1 - self.world.rank();
    while (self.world.status() == SyncStatus::done) {
      store->add("ready", 1);
      const Send send{peer, data.data(), std::ssize(data)};
      const Receive receive{peer, data.data(), std::ssize(data)};
      self.world.join(self.world.rank() == 0 ? self.world.exchange({&send, 1}, {})
                                             : self.world.exchange({}, {&receive, 1}));
    }
    return name_of(self.world.status());
  });
  (void)store->wait("ready", deadline_in(20s));
  std::this_thread::sleep_for(5ms);
  processes.kill(0, SIGKILL);
  CHECK(processes.results() == Results{"dead", "peer_lost"});
}

TEST_CASE("a rank that dies is lost to the others at once, and they go on in a smaller group",
          "[exec][failure]") {
  const World world = GENERATE(kThreads, kProcesses);
  const auto run = [](TestRank& self) -> std::string {
    (void)sum_of_processes(self, self.world);
    if (self.transport.process() == 1) {
      throw RankDeath{};
    }
    self.world.join(self.world.barrier());
    if (self.world.status() != SyncStatus::peer_lost) {
      return name_of(self.world.status());
    }
    const auto rest =
        self.transport.make_group({.name = "four", .members = {0, 2, 3, 4}}, deadline_in(20s));
    if (!rest || sum_of_processes(self, *rest) != 0 + 2 + 3 + 4) {
      return "not together";
    }
    if (rest->rank() == 1) {  // process 2
      throw RankDeath{};
    }
    rest->join(rest->barrier());
    const auto last =
        self.transport.make_group({.name = "three", .members = {0, 3, 4}}, deadline_in(20s));
    return last ? std::to_string(last->rank()) + " of " + std::to_string(last->size()) + ": " +
                      std::to_string(sum_of_processes(self, *last))
                : "no group";
  };
  CHECK(world.run(5, run) == Results{"0 of 3: 7", "dead", "dead", "1 of 3: 7", "2 of 3: 7"});
}

TEST_CASE("an abort from another thread ends the operations here and on the peers",
          "[exec][failure]") {
  const World world = GENERATE(kThreads, kProcesses);
  const auto run = [](TestRank& self) -> std::string {
    // Everyone waits for what does not come: a message of the next rank.
    std::int64_t number = 0;
    const Receive receive{(self.world.rank() + 1) % self.world.size(), &number, 8};
    const Ticket ticket = self.world.exchange({}, {&receive, 1});
    std::optional<std::thread> other;
    if (self.world.rank() == 0) {
      other.emplace([&] {
        std::this_thread::sleep_for(20ms);
        self.world.abort();
      });
    }
    self.world.join(ticket);
    const SyncStatus status = self.world.wait(deadline_in(20s));
    if (other) {
      other->join();
    }
    self.world.join(self.world.barrier());  // does nothing any more
    return name_of(status);
  };
  CHECK(world.run(3, run) == Results{"peer_lost", "peer_lost", "peer_lost"});
}

TEST_CASE("a deadline that passes is a timeout for one and a lost peer for the rest",
          "[exec][failure]") {
  const World world = GENERATE(kThreads, kProcesses);
  const auto run = [](TestRank& self) -> std::string {
    std::int64_t number = 0;
    const std::int64_t rank = self.world.rank();
    const Receive receive{(rank + 1) % 3, &number, 8};
    self.world.exchange({}, {&receive, 1});
    return name_of(self.world.wait(deadline_in(rank == 0 ? 50ms : 15000ms)));
  };
  CHECK(world.run(3, run) == Results{"timed_out", "peer_lost", "peer_lost"});
}

TEST_CASE("an operation takes no longer than the group's timeout", "[exec][failure]") {
  const World world = GENERATE(kThreads, kProcesses);
  const auto run = [](TestRank& self) -> std::string {
    GroupSpec spec = world_spec(2);
    spec.name = "impatient";
    spec.timeout = 50ms;
    const auto group = self.transport.make_group(spec, deadline_in(20s));
    std::int64_t number = 0;
    const Receive receive{1 - self.world.rank(), &number, 8};
    const Ticket ticket = group->exchange({}, {&receive, 1});
    const auto begin = Clock::now();
    group->join(ticket);
    return Clock::now() - begin < 10s && group->status() != SyncStatus::done ? "failed" : "hung";
  };
  CHECK(world.run(2, run) == Results{"failed", "failed"});
}

TEST_CASE("a group whose members do not all come is null", "[exec][failure]") {
  const World world = GENERATE(kThreads, kProcesses);
  const auto run = [](TestRank& self) -> std::string {
    if (self.world.rank() == 1) {
      self.world.join(self.world.barrier());
      return "";
    }
    GroupSpec spec = world_spec(3);
    spec.name = "incomplete";
    const bool is_null = self.transport.make_group(spec, deadline_in(100ms)) == nullptr;
    self.world.join(self.world.barrier());
    return is_null && self.world.status() == SyncStatus::done ? "null" : "a group";
  };
  CHECK(world.run(3, run) == Results{"null", "", "null"});
}

TEST_CASE("a rank that has done its part may leave before the others are done", "[exec][failure]") {
  const World world = GENERATE(kThreads, kProcesses);
  const auto run = [](TestRank& self) -> std::string {
    self.world.join(self.world.barrier());
    std::int64_t number = self.world.rank();
    if (self.world.rank() == 0) {
      return "";
    }
    for (int i = 0; i < 100; ++i) {
      const std::int64_t peer = 3 - self.world.rank();
      const Send send{peer, &number, 8};
      std::int64_t received = -1;
      const Receive receive{peer, &received, 8};
      self.world.join(self.world.exchange({&send, 1}, {&receive, 1}));
      if (received != peer) {
        return "lost";
      }
    }
    const SyncStatus status = self.world.status();
    self.world.join(self.world.barrier());
    return name_of(status) + " " + name_of(self.world.status());
  };
  CHECK(world.run(3, run) == Results{"", "done peer_lost", "done peer_lost"});
}
