#include "exec/loopback_communicator.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <atomic>
#include <stdexcept>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace std::chrono_literals;

// Catch2's assertions are not thread-safe: ranks write what they saw to places of their own, and
// the test checks them after spawn().

TEST_CASE("an all_to_all_v brings every byte to its rank, for any sizes", "[exec][communicator]") {
  const std::int64_t world = GENERATE(1, 2, 3, 5, 8);
  tests::Dice dice(static_cast<std::uint64_t>(world));
  const auto num_ranks = static_cast<std::size_t>(world);
  for (int round = 0; round < 20; ++round) {
    // sizes[from][to]; byte i from one to another is a function of all three.
    std::vector<std::vector<std::int64_t>> sizes(num_ranks, std::vector<std::int64_t>(num_ranks));
    for (auto& of_sender : sizes) {
      for (std::int64_t& size : of_sender) {
        size = dice.one_in(3) ? 0 : dice.between(1, 1000);
      }
    }
    const auto append = [&](std::vector<std::byte>& out, std::size_t from, std::size_t to) {
      for (std::int64_t i = 0; i < sizes[from][to]; ++i) {
        out.push_back(static_cast<std::byte>(static_cast<std::size_t>(i) * 7 + from * 31 + to));
      }
    };
    std::vector<std::vector<std::byte>> received(num_ranks);
    std::vector<std::vector<std::byte>> expected(num_ranks);
    std::vector<SyncStatus> status(num_ranks, SyncStatus::timed_out);
    spawn(world, [&](ThreadRank& self) {
      Communicator& group = self.world;
      const auto me = static_cast<std::size_t>(group.rank());
      std::vector<std::byte> send;
      std::vector<std::int64_t> recv_sizes;
      for (std::size_t peer = 0; peer < num_ranks; ++peer) {
        append(send, me, peer);
        append(expected[me], peer, me);
        recv_sizes.push_back(sizes[peer][me]);
      }
      received[me].resize(expected[me].size());
      all_to_all_v(group, send.data(), sizes[me], received[me].data(), recv_sizes);
      status[me] = group.wait(deadline_in(10s));
    });
    CHECK(status == std::vector<SyncStatus>(num_ranks, SyncStatus::done));
    CHECK(received == expected);
  }
}

TEST_CASE("an all_reduce gives every rank the same sum and maximum", "[exec][communicator]") {
  const std::int64_t world = GENERATE(1, 2, 7);
  const auto num_ranks = static_cast<std::size_t>(world);
  std::vector<std::vector<float>> sums(num_ranks);
  std::vector<std::vector<std::int64_t>> largest(num_ranks);
  spawn(world, [&](ThreadRank& self) {
    Communicator& group = self.world;
    const auto me = static_cast<std::size_t>(group.rank());
    for (int i = 0; i < 100; ++i) {
      sums[me].push_back(0.1F * static_cast<float>((group.rank() + 1) * i));
      largest[me].push_back((group.rank() * 37 + i * 11) % 101);
    }
    group.all_reduce(sums[me].data(), 100, DataType::fp32, ReduceOp::sum);
    group.all_reduce(largest[me].data(), 100, DataType::int64, ReduceOp::max);
    require(group.wait(deadline_in(10s)) == SyncStatus::done, "all_reduce failed");
  });
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    CHECK(sums[rank] == sums[0]);
    CHECK(largest[rank] == largest[0]);
  }
  for (int i = 0; i < 100; ++i) {
    std::int64_t most = 0;
    for (std::int64_t rank = 0; rank < world; ++rank) {
      most = std::max(most, (rank * 37 + i * 11) % 101);
    }
    CHECK(largest[0][static_cast<std::size_t>(i)] == most);
    const double sum = 0.1 * i * static_cast<double>(world * (world + 1) / 2);
    CHECK(static_cast<double>(sums[0][static_cast<std::size_t>(i)]) == Approx(sum));
  }
}

TEST_CASE("nobody passes a barrier before everybody is there", "[exec][communicator]") {
  constexpr std::int64_t kWorld = 6;
  constexpr int kRounds = 200;
  std::atomic<std::int64_t> num_arrived = 0;
  std::atomic<bool> early = false;
  spawn(kWorld, [&](ThreadRank& self) {
    Communicator& group = self.world;
    for (int round = 1; round <= kRounds; ++round) {
      ++num_arrived;
      group.barrier();
      require(group.wait(deadline_in(10s)) == SyncStatus::done, "barrier failed");
      early = early || num_arrived < round * kWorld;
    }
  });
  CHECK_FALSE(early);
  CHECK(num_arrived == kRounds * kWorld);
}

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

TEST_CASE("a deadline that passes is a timeout for one and a lost peer for the rest",
          "[exec][communicator]") {
  std::vector<SyncStatus> status(2, SyncStatus::done);
  std::atomic<bool> has_timed_out = false;
  spawn(2, [&](ThreadRank& self) {
    Communicator& group = self.world;
    if (group.rank() == 1) {
      has_timed_out.wait(false);
    }
    group.barrier();
    const auto me = static_cast<std::size_t>(group.rank());
    status[me] = group.wait(deadline_in(group.rank() == 0 ? 10ms : 60000ms));
    has_timed_out = true;
    has_timed_out.notify_all();
  });
  CHECK(status[0] == SyncStatus::timed_out);
  CHECK(status[1] == SyncStatus::peer_lost);
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
