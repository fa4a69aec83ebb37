#include "exec/communication/gloo_transport.hpp"

#include "tests/catch.hpp"
#include "tests/exec/redis_server.hpp"
#include "tests/exec/worlds.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace runflat::tests;

namespace {

using Results = std::vector<std::string>;

std::string sum_of_ranks(TestRank& self) {
  std::int64_t sum = self.world.rank();
  self.world.join(self.world.all_reduce(&sum, 1, DataType::int64, ReduceOp::sum));
  return std::to_string(sum);
}

}  // namespace

TEST_CASE("processes meet in Redis and leave nothing there", "[exec][gloo]") {
  if (!RedisServer::is_installed()) {
    WARN("skipped: redis-server is not installed");
    return;
  }
  const RedisServer server;
  CHECK(Processes(3, sum_of_ranks, server.url("job")).results() == Results{"3", "3", "3"});
  CHECK(make_store(server.url("job"), 10s)->list("").empty());
}

TEST_CASE("processes may have addresses of their own", "[exec][gloo]") {
  Processes processes(3, sum_of_ranks, "", {"127.0.0.1", "127.0.0.2", "127.0.0.3"});
  CHECK(processes.results() == Results{"3", "3", "3"});
}

TEST_CASE("ends of a message that disagree on its size time out", "[exec][gloo]") {
  const auto run = [](TestRank& self) -> std::string {
    std::vector<std::byte> data(16);
    const Send send{1, data.data(), 8};
    const Receive receive{0, data.data(), 16};
    self.world.rank() == 0 ? self.world.exchange({&send, 1}, {})
                           : self.world.exchange({}, {&receive, 1});
    return self.world.wait(deadline_in(50ms)) == SyncStatus::done ? "done" : "failed";
  };
  CHECK(run_processes(2, run) == Results{"failed", "failed"});
}

TEST_CASE("a host that is not this one is refused in one line", "[exec][gloo]") {
  const TemporaryDirectory directory;
  const std::shared_ptr<Store> store = make_store("dir:" + directory.path().string(), 1s);
  for (const std::string host : {"no.such.host.invalid", "192.0.2.1"}) {
    std::string text;
    try {
      (void)make_gloo_transport({.store = store, .process = 0, .host = host});
    } catch (const std::runtime_error& error) {
      text = error.what();
    }
    CHECK(text == "gloo: not a name or address of this host: " + host);
  }
}
