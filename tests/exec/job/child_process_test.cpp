#include "exec/job/child_process.hpp"

#include "tests/catch.hpp"

#include <chrono>
#include <csignal>
#include <functional>
#include <thread>

namespace runflat::exec {
namespace {

bool comes_true(const std::function<bool()>& is_so) {
  for (int i = 0; i < 1000 && !is_so(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return is_so();
}

TEST_CASE("the signal that ends a child is known before its end is taken note of", "[child]") {
  ChildProcess child("/bin/sleep", {"100"}, {});
  CHECK(child.fatal_signal() == 0);
  child.send(SIGKILL);
  REQUIRE(comes_true([&] { return child.fatal_signal() == SIGKILL; }));
  REQUIRE(comes_true([&] { return child.has_ended(); }));
  CHECK(child.status() == -SIGKILL);
  CHECK(child.describe() == "was killed by SIGKILL");
  CHECK(child.fatal_signal() == 0);  // there is no such process any more
}

TEST_CASE("a child that exits by itself has no fatal signal", "[child]") {
  ChildProcess child("/bin/sh", {"-c", "echo 'runflat: no' >&2; exit 3"}, {});
  while (!child.has_ended()) {
    CHECK(child.fatal_signal() == 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  CHECK(child.status() == 3);
  CHECK(child.reason() == "no");
}

}  // namespace
}  // namespace runflat::exec
