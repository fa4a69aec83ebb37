#include "exec/job/agent.hpp"

#include "exec/job/exit_status.hpp"
#include "exec/job/job_faults.hpp"
#include "exec/recovery/rendezvous.hpp"
#include "exec/store/memory_store.hpp"
#include "tests/catch.hpp"

#include <csignal>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace std::chrono_literals;

namespace {

/// An agent of processes 0 and 1, whose workers run a line of the shell each time they start.
AgentConfig shell(const std::string& line) {
  AgentConfig config{.program = "/bin/sh",
                     .arguments = {"-c", line},
                     .workers = {{.process = 0}, {.process = 1}},
                     .all_processes = {0, 1},
                     .recovery = {}};
  config.recovery.max_restarts = 2;
  return config;
}

}  // namespace

TEST_CASE("workers that die are marked, started again, and given up at last", "[exec][agent]") {
  MemoryStore store;
  begin_job(store);
  const AgentEnd end = Agent(shell("kill -9 $$"), store).run();
  CHECK(end.status == kPeerLost);
  CHECK(end.reason.ends_with("was killed by SIGKILL"));
  for (const std::int64_t process : {0, 1}) {
    for (const std::int64_t life : {1, 2, 3}) {
      const auto death = find_death(store, {.process = process, .life = life});
      REQUIRE(death.has_value());
      CHECK(death->cause == "was killed by SIGKILL");
    }
    CHECK_FALSE(is_dead(store, {.process = process, .life = 4}));
  }
}

TEST_CASE("a worker that cannot start ends the job, with its status and reason", "[exec][agent]") {
  MemoryStore store;
  const AgentEnd end = Agent(shell("[ $RUNFLAT_PROCESS = 0 ] && exec sleep 60; echo 'runflat: no "
                                   "such file' >&2; exit 2"),
                             store)
                           .run();
  CHECK(end.status == kBadInput);
  CHECK(end.reason == "no such file");
  CHECK_FALSE(is_dead(store, {.process = 1, .life = 1}));
  const AgentEnd other = Agent(shell("exec sleep 60"), store).run();  // another host's
  CHECK(other.status == kBadInput);
  CHECK(other.reason == "no such file");
}

TEST_CASE("a fault on demand says when its process comes back", "[exec][agent]") {
  MemoryStore store;
  begin_job(store);
  store.set(repair_key(0), "never");
  store.set(repair_key(1), "7");
  store.set(kStepsKey, "7");
  AgentConfig config = shell("kill -9 $$");
  const AgentEnd end = Agent(std::move(config), store).run();
  CHECK(end.status == kPeerLost);
  CHECK_FALSE(is_dead(store, {.process = 0, .life = 2}));
  CHECK(is_dead(store, {.process = 1, .life = 3}));
  CHECK_FALSE(store.get(repair_key(1)).has_value());
}

TEST_CASE("a stopped worker is killed after hang_timeout", "[exec][agent]") {
  MemoryStore store;
  begin_job(store);
  AgentConfig config = shell("kill -STOP $$; exit 0");
  config.recovery.max_restarts = 0;
  config.recovery.hang_timeout = 100ms;
  const AgentEnd end = Agent(std::move(config), store).run();
  CHECK(end.status == kPeerLost);
  const auto death = find_death(store, {.process = 0, .life = 1});
  REQUIRE(death.has_value());
  CHECK(death->cause == "hang: stopped for 0.1 s");
  CHECK(death->was_silent);
}

TEST_CASE("a worker whose GPU has failed is killed at once", "[exec][agent]") {
  struct Case {
    std::int64_t xid;
    std::string cause;
    std::int64_t num_lives;  // with two restarts allowed
  };
  const Case it = GENERATE(Case{79, "Xid 79: GPU has fallen off the bus", 1},
                           Case{94, "Xid 94: contained memory error", 3});
  MemoryStore store;
  begin_job(store);
  AgentConfig config = shell("exec sleep 60");
  config.workers[1].local_rank = 1;
  bool tells = true;
  config.take_xids = [&]() -> std::vector<XidEvent> {
    // Of GPU 0 first; of GPU 1, whose worker has to end as well, for ever.
    return std::exchange(tells, !tells) ? std::vector<XidEvent>{{.gpu = 0, .xid = it.xid}}
                                        : std::vector<XidEvent>{{.gpu = 1, .xid = 48}};
  };
  const AgentEnd end = Agent(std::move(config), store).run();
  CHECK(end.status == kPeerLost);
  for (std::int64_t life = 1; life <= it.num_lives; ++life) {
    const auto death = find_death(store, {.process = 0, .life = life});
    REQUIRE(death.has_value());
    CHECK(death->cause == it.cause);
  }
  CHECK(last_life(store, 0) == it.num_lives);
  CHECK(last_life(store, 1) == 1);
}

TEST_CASE("an error that only explains an end is told with it", "[exec][agent]") {
  MemoryStore store;
  begin_job(store);
  AgentConfig config = shell("sleep 0.2; exit 1");
  config.workers.pop_back();
  config.all_processes = {0};
  config.recovery.max_restarts = 0;
  std::vector<XidEvent> events = {
      {.gpu = 0, .xid = 31}, {.gpu = 0, .xid = 45}, {.gpu = 1, .xid = 79}};
  config.take_xids = [&] { return std::exchange(events, {}); };
  CHECK(Agent(std::move(config), store).run().status == kPeerLost);
  const auto death = find_death(store, {.process = 0, .life = 1});
  REQUIRE(death.has_value());
  CHECK(death->cause == "ended with status 1; Xid 31: GPU memory page fault");
}

TEST_CASE("an agent marks the workers of one that gives no sign", "[exec][agent]") {
  MemoryStore store;
  begin_job(store);
  Leases other(store, 1, 2, {7}, 100ms);
  static_cast<void>(begin_life(store, 7));
  other.beat();
  AgentConfig config = shell("sleep 1; kill -9 $$");
  config.recovery.max_restarts = 0;
  config.recovery.lost_host_timeout = 100ms;
  config.all_processes = {0, 1, 7};
  config.num_places = 2;
  const AgentEnd end = Agent(std::move(config), store).run();  // 7 is gone, too
  CHECK(end.status == kPeerLost);
  const auto death = find_death(store, {.process = 7, .life = 1});
  REQUIRE(death.has_value());
  CHECK(death->cause == "host lost: no sign of its agent for 0.1 s");
}

TEST_CASE("an agent knows that the workers of the one before it are dead", "[exec][agent]") {
  MemoryStore store;
  begin_job(store);
  static_cast<void>(begin_life(store, 0));
  AgentConfig config = shell("kill -9 $$");
  config.recovery.max_restarts = 0;
  CHECK(Agent(std::move(config), store).run().status == kPeerLost);
  const auto death = find_death(store, {.process = 0, .life = 1});
  REQUIRE(death.has_value());
  CHECK(death->cause == "its agent ended");
  CHECK(is_dead(store, {.process = 0, .life = 2}));
  CHECK_FALSE(is_dead(store, {.process = 1, .life = 0}));
}

TEST_CASE("an agent that was only slow ends the workers that others have marked", "[exec][agent]") {
  MemoryStore store;
  begin_job(store);
  AgentConfig config = shell("[ $RUNFLAT_LIFE = 1 ] && exec sleep 60; kill -9 $$");
  config.recovery.max_restarts = 1;
  config.recovery.lost_host_timeout = 5s;
  config.place = 1;
  config.num_places = 2;
  std::thread other([&] {
    Leases leases(store, 0, 2, {7}, 5s);
    while (!is_dead(store, {.process = 1, .life = 1})) {  // much faster than once in half a second
      leases.beat();
      std::this_thread::sleep_for(1ms);
    }
  });
  const AgentEnd end = Agent(std::move(config), store).run();
  other.join();
  CHECK(end.status == kPeerLost);
  for (const std::int64_t process : {0, 1}) {
    const auto first = find_death(store, {process, 1});
    const auto second = find_death(store, {process, 2});
    REQUIRE((first && second));
    CHECK(first->cause == "host lost: no sign of its agent for 5 s");
    CHECK(second->cause == "was killed by SIGKILL");
  }
}

TEST_CASE("the places of a job hold each of its workers once", "[exec][agent]") {
  Plan plan;
  plan.cluster.num_nodes = 2;
  plan.cluster.gpus_per_node = 4;
  plan.layout = ParallelLayout::nonuniform(
      {.tp = 4, .dp = 2},
      {{.cell = {.dp = DpRank(1), .cp = CpRank(0), .pp = PpRank(0)}, .slots = {1, 2}}});
  const auto workers = [&](std::int64_t rank, std::int64_t world_size) {
    return workers_of({.launcher = "Slurm",
                       .rank = rank,
                       .world_size = world_size,
                       .local_rank = 0,
                       .is_one_host = false,
                       .job = ""},
                      plan);
  };
  std::vector<std::int64_t> processes;
  std::vector<std::int64_t> local_ranks;
  for (const std::int64_t node : {0, 1}) {
    for (const WorkerProcess& worker : workers(node, 2)) {
      processes.push_back(worker.process);
      local_ranks.push_back(worker.local_rank);
    }
  }
  CHECK(processes == std::vector<std::int64_t>{0, 1, 2, 3, 4, 7});
  CHECK(local_ranks == std::vector<std::int64_t>{0, 1, 2, 3, 0, 3});
  CHECK(workers(5, 6).front().process == 7);
  CHECK(workers(5, 6).size() == 1);
  CHECK(workers(0, 1).size() == 6);
  CHECK_THROWS_WITH(workers(0, 4),
                    Catch::Contains("started 4 processes, and the plan has 6 ranks on"));

  // A node of spares has its workers too.
  plan.cluster.num_nodes = 3;
  plan.cluster.domain_size = 4;
  plan.spare_domains = {DomainId(2)};
  plan.failed = {GpuId(9)};
  CHECK(workers(0, 1).size() == 9);
  REQUIRE(workers(2, 3).size() == 3);
  CHECK(workers(2, 3)[1].process == 10);
  CHECK(workers(2, 3)[1].local_rank == 2);
  CHECK(workers(8, 9).front().process == 11);
  CHECK_THROWS_WITH(workers(0, 6), Catch::Contains("6 ranks and 3 spares on 3 nodes"));
}
