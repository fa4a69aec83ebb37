#include "exec/communication/loopback_communicator.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"

#include <stdexcept>
#include <thread>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace std::chrono_literals;

// Catch2's assertions are not thread-safe: ranks write what they saw to places of their own, and
// the test checks them after spawn().

TEST_CASE("a rank that is gone is lost to the others, at once and for good",
          "[exec][communicator]") {
  constexpr std::int64_t kWorld = 4;
  std::vector<SyncStatus> first(kWorld, SyncStatus::done);
  std::vector<SyncStatus> second(kWorld, SyncStatus::done);
  const auto start = std::chrono::steady_clock::now();
  spawn(kWorld, [&](ThreadRank& self) {
    Communicator& group = self.world;
    const auto me = static_cast<std::size_t>(group.rank());
    if (group.rank() == 2) {
      return;
    }
    group.barrier();
    first[me] = group.wait(deadline_in(60s));
    group.barrier();
    second[me] = group.wait(deadline_in(60s));
  });
  for (const std::size_t rank : {0U, 1U, 3U}) {
    CHECK(first[rank] == SyncStatus::peer_lost);
    CHECK(second[rank] == SyncStatus::peer_lost);
  }
  CHECK(std::chrono::steady_clock::now() - start < 30s);
}

TEST_CASE("spawn rethrows what a rank has thrown", "[exec][communicator]") {
  CHECK_THROWS_AS(spawn(3,
                        [](ThreadRank& self) {
                          Communicator& group = self.world;
                          if (group.rank() == 1) {
                            throw std::runtime_error("rank 1");
                          }
                          group.barrier();
                          (void)group.wait(deadline_in(60s));
                        }),
                  std::runtime_error);
  CHECK_THROWS_AS(spawn(0, [](ThreadRank&) {}), InvalidArgument);
}

TEST_CASE("spawn rethrows why a rank ended rather than that others lost it",
          "[exec][communicator]") {
  const auto run = [](ThreadRank& self) {
    Communicator& group = self.world;
    if (group.rank() == 1) {
      group.abort();
      std::this_thread::sleep_for(100ms);  // the others end first
      throw std::runtime_error("rank 1");
    }
    group.barrier();
    if (group.wait(deadline_in(60s)) != SyncStatus::done) {
      throw PeerLost("a peer is lost");
    }
  };
  CHECK_THROWS_WITH(spawn(3, run), "rank 1");
  CHECK_THROWS_AS(spawn(2, [](ThreadRank&) { throw PeerLost("all are"); }), PeerLost);
}

TEST_CASE("sizes that do not agree are refused without a hang", "[exec][communicator]") {
  CHECK_THROWS_AS(spawn(2,
                        [](ThreadRank& self) {
                          Communicator& group = self.world;
                          const std::vector<std::int64_t> send = {0, 4};
                          const std::vector<std::int64_t> recv = {group.rank() == 1 ? 8 : 0, 0};
                          std::vector<std::byte> memory(16);
                          all_to_all_v(group, memory.data(), send, memory.data() + 8, recv);
                          (void)group.wait(deadline_in(60s));
                        }),
                  InvalidArgument);
}
