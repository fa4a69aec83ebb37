#include "exec/communication/watched_transport.hpp"

#include "tests/catch.hpp"
#include "tests/exec/worlds.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace runflat::tests;

namespace {

using Results = std::vector<std::string>;

/// One rank of two: two groups of both, and a message from the other rank under way in the first.
struct Watched {
  explicit Watched(TestRank& self)
      : transport(self.transport,
                  {.queued = [this] { ++num_queued; },
                   .received =
                       [this](std::span<const Receive> receives) {
                         for (const Receive& receive : receives) {
                           told.push_back(*static_cast<const double*>(receive.data));
                         }
                       }}) {
    for (const char* name : {"first", "second"}) {
      GroupSpec spec = world_spec(2);
      spec.name = name;
      (first ? second : first) = transport.make_group(spec, deadline_in(20s));
    }
    const std::int64_t rank = self.world.rank();
    sent = static_cast<double>(rank);
    const Send send{1 - rank, &sent, sizeof sent};
    const Receive receive{1 - rank, &data, sizeof data};
    ticket = first->exchange(std::span(&send, 1), std::span(&receive, 1));
  }

  std::int64_t num_queued = 0;
  std::vector<double> told{};  ///< what messages held when they were told of
  WatchedTransport transport;
  std::unique_ptr<Communicator> first;
  std::unique_ptr<Communicator> second;
  double sent = 0.0;
  double data = -1.0;
  Ticket ticket = 0;
};

/// What both ranks were told of, after each has done that.
Results told_after(const std::function<void(Watched&)>& act) {
  return run_threads(2, [&](TestRank& self) {
    Watched watched(self);
    act(watched);
    std::string told = std::to_string(watched.num_queued) + ":";
    for (const double value : watched.told) {
      told += " " + std::to_string(static_cast<int>(value));
    }
    self.world.join(self.world.barrier());
    return told;
  });
}

}  // namespace

TEST_CASE("a message is told of once, when it has arrived and is the caller's", "[exec][watched]") {
  const Results once{"1: 1", "1: 0"};
  CHECK(told_after([](Watched& it) {
          it.first->join(it.ticket);
          it.first->join(it.ticket);
          (void)it.first->wait(deadline_in(20s));
        }) == once);
  CHECK(told_after([](Watched& it) {
          (void)it.first->wait(deadline_in(20s));
          it.first->join(it.ticket);
        }) == once);
}

TEST_CASE("a message that another communicator uses is not told of", "[exec][watched]") {
  CHECK(told_after([](Watched& it) {
          it.second->follow(*it.first, it.ticket);
          const Ticket summed = it.second->all_reduce(&it.data, 1, DataType::fp64, ReduceOp::sum);
          it.first->join(it.ticket);
          it.second->join(summed);
        }) == Results{"2:", "2:"});
}

TEST_CASE("a message of a communicator that has failed is not told of", "[exec][watched]") {
  CHECK(told_after([](Watched& it) {
          it.first->abort();
          it.first->join(it.ticket);
        }) == Results{"1:", "1:"});
}
