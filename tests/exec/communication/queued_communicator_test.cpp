#include "exec/communication/queued_communicator.hpp"

#include "core/error.hpp"
#include "exec/communication/loopback_communicator.hpp"
#include "tests/catch.hpp"
#include "tests/exec/worlds.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace runflat::tests;

namespace {

using Results = std::vector<std::string>;

/// Two groups of all ranks.
struct TwoGroups {
  std::unique_ptr<Communicator> first;
  std::unique_ptr<Communicator> second;
};
TwoGroups two_groups(TestRank& self) {
  const auto make = [&](const char* name) {
    GroupSpec spec = world_spec(self.world.size());
    spec.name = name;
    return self.transport.make_group(spec, deadline_in(20s));
  };
  TwoGroups groups{.first = make("first"), .second = nullptr};
  groups.second = make("second");
  return groups;
}

}  // namespace

TEST_CASE("a communicator is busy until its operations have ended", "[exec][queue]") {
  const World world = GENERATE(kThreads, kProcesses);
  const auto run = [](TestRank& self) -> std::string {
    const TwoGroups groups = two_groups(self);
    bool was_busy = true;
    if (self.world.rank() == 0) {
      groups.first->barrier();  // which the others enter once all are in the second
      was_busy = groups.first->is_busy();
      groups.second->barrier();
    } else {
      groups.second->barrier();
      (void)groups.second->wait(deadline_in(20s));
      groups.first->barrier();
    }
    (void)groups.first->wait(deadline_in(20s));
    return !was_busy ? "not busy" : groups.first->is_busy() ? "still busy" : "";
  };
  CHECK(world.run(3, run) == Results(3));
}

TEST_CASE("operations are numbered from 1 and noted in their order", "[exec][queue]") {
  const World world = GENERATE(kThreads, kProcesses);
  const auto run = [](TestRank& self) -> std::string {
    self.world.join(self.world.barrier());
    self.world.record_times();
    for (Ticket expected = 2; expected <= 10; ++expected) {
      if (self.world.barrier() != expected) {
        return "wrong number";
      }
    }
    (void)self.world.wait(deadline_in(20s));
    const std::vector<OperationTime> times = self.world.take_times();
    for (std::size_t i = 0; i < times.size(); ++i) {
      const bool is_in_order = times[i].ticket == static_cast<Ticket>(i) + 2 &&
                               times[i].begin <= times[i].end &&
                               (i == 0 || times[i - 1].end <= times[i].begin);
      if (!is_in_order) {
        return "not in order";
      }
    }
    return std::to_string(times.size()) + std::to_string(self.world.take_times().size());
  };
  CHECK(world.run(3, run) == Results{"90", "90", "90"});
}

TEST_CASE("an operation ends while its caller computes", "[exec][queue]") {
  const World world = GENERATE(kThreads, kProcesses);
  const auto run = [](TestRank& self) -> std::string {
    self.world.record_times();
    std::vector<double> data(1000, 1.0);
    self.world.all_reduce(data.data(), 1000, DataType::fp64, ReduceOp::sum);
    // The computation: never joins, and would go on until it sees the operation's end.
    const Deadline deadline = deadline_in(10s);
    while (Clock::now() < deadline) {
      if (!self.world.take_times().empty()) {
        return data.front() == 2.0 ? "overlapped" : "wrong";
      }
    }
    return "only when joined";
  };
  CHECK(world.run(2, run) == Results{"overlapped", "overlapped"});
}

TEST_CASE("what follows an operation of another group begins after its end", "[exec][queue]") {
  const World world = GENERATE(kThreads, kProcesses);
  const bool joins_at_once = GENERATE(false, true);
  const auto run = [=](TestRank& self) -> std::string {
    const TwoGroups groups = two_groups(self);
    groups.first->record_times();
    groups.second->record_times();
    // Rank 1 comes to the first group last; on rank 0 the second group could begin before.
    if (self.world.rank() == 1) {
      groups.second->barrier();
      std::this_thread::sleep_for(20ms);
      groups.first->join(groups.first->barrier());
      return name_of(groups.second->wait(deadline_in(20s)));
    }
    groups.second->follow(*groups.first, groups.first->barrier());
    const Ticket ticket = groups.second->barrier();
    if (!joins_at_once) {
      std::this_thread::sleep_for(10ms);
    }
    groups.second->join(ticket);
    const auto first = groups.first->take_times();
    const auto second = groups.second->take_times();
    const bool is_in_order =
        first.size() == 1 && second.size() == 1 && first[0].end <= second[0].begin;
    return is_in_order ? name_of(groups.second->status()) : "not in order";
  };
  CHECK(world.run(2, run) == Results{"done", "done"});
}

TEST_CASE("what follows a failed operation fails", "[exec][queue]") {
  const World world = GENERATE(kThreads, kProcesses);
  const auto run = [](TestRank& self) -> std::string {
    TwoGroups groups = two_groups(self);
    std::int64_t number = 0;
    const Receive receive{1 - self.world.rank(), &number, 8};
    const Ticket ticket = groups.first->exchange({}, {&receive, 1});  // never comes
    groups.second->follow(*groups.first, ticket);
    groups.second->barrier();
    if (self.world.rank() == 0) {
      groups.first->abort();
    }
    return name_of(groups.second->wait(deadline_in(20s)));
  };
  CHECK(world.run(2, run) == Results{"peer_lost", "peer_lost"});
}

TEST_CASE("a communicator may be gone before those that follow it", "[exec][queue]") {
  const auto run = [](TestRank& self) -> std::string {
    TwoGroups groups = two_groups(self);
    const Ticket over = groups.first->barrier();
    groups.first->join(over);
    groups.second->follow(*groups.first, over);
    const Ticket after_success = groups.second->barrier();
    groups.second->join(after_success);
    if (groups.second->status() != SyncStatus::done) {
      return "failed early";
    }
    std::int64_t number = 0;
    const Receive receive{1 - self.world.rank(), &number, 8};
    groups.second->follow(*groups.first, groups.first->exchange({}, {&receive, 1}));
    const Ticket ticket = groups.second->barrier();
    groups.first.reset();
    groups.second->join(ticket);
    return name_of(groups.second->status());
  };
  CHECK(run_threads(2, run) == Results{"peer_lost", "peer_lost"});
}

TEST_CASE("an abort ends the wait for another communicator", "[exec][queue]") {
  const auto run = [](TestRank& self) -> std::string {
    TwoGroups groups = two_groups(self);
    std::int64_t number = 0;
    const Receive receive{1 - self.world.rank(), &number, 8};
    groups.second->follow(*groups.first, groups.first->exchange({}, {&receive, 1}));
    const Ticket ticket = groups.second->barrier();
    std::thread other([&] {
      std::this_thread::sleep_for(10ms);
      groups.second->abort();
    });
    groups.second->join(ticket);
    other.join();
    const bool first_goes_on = groups.first->status() == SyncStatus::done;
    self.world.join(self.world.barrier());
    return name_of(groups.second->status()) + (first_goes_on ? "" : " both");
  };
  CHECK(run_threads(2, run) == Results{"peer_lost", "peer_lost"});
}

TEST_CASE("an abort that races with operations loses none of them for ever", "[exec][queue]") {
  for (int round = 0; round < 30; ++round) {
    const auto run = [&](TestRank& self) -> std::string {
      std::vector<float> data(100, 1.F);
      std::thread other([&] {
        std::this_thread::sleep_for(std::chrono::microseconds(round * 20));
        if (self.world.rank() == 1) {
          self.world.abort();
        }
      });
      for (int i = 0; i < 200; ++i) {
        const Ticket ticket =
            self.world.all_reduce(data.data(), 100, DataType::fp32, ReduceOp::max);
        if (i % 3 == 0) {
          self.world.join(ticket);
        }
      }
      const SyncStatus status = self.world.wait(deadline_in(20s));
      other.join();
      return status == SyncStatus::timed_out ? "hung" : "ended";
    };
    CHECK(run_threads(3, run) == Results{"ended", "ended", "ended"});
  }
}
