#include "exec/checkpoint/checkpoint_folder.hpp"

#include "exec/communication/loopback_communicator.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"
#include "tests/exec/checkpoint_files.hpp"
#include "tests/exec/temporary_directory.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace runflat;
using namespace runflat::exec;
using namespace runflat::tests;

namespace {

constexpr std::int64_t kRanks = 2;

/// Two ranks save step after step until the process is killed.
[[noreturn]] void save_on_and_on(const std::filesystem::path& folder, std::int64_t first) {
  spawn(kRanks, [&](ThreadRank& self) {
    Checkpointer checkpointer(self.transport,
                              ParallelLayout::uniform({.dp = kRanks}),
                              {.folder = folder, .keep_last = 2});
    for (std::int64_t step = first;; ++step) {
      checkpointer.save(tiny_header(step), tiny_state(step, self.world.rank(), kRanks));
    }
  });
  ::_exit(1);
}

/// The step of the latest checkpoint, every element of which must be that step's; 0 without any.
std::int64_t latest_step(const std::filesystem::path& folder) {
  if (!std::filesystem::exists(folder / "latest")) {
    return 0;
  }
  const std::int64_t step = CheckpointReader(folder).index().header.progress.steps;
  REQUIRE(contents(folder) == tiny_contents(step));
  return step;
}

/// Whether something half written is there.
bool is_interrupted(const std::filesystem::path& folder) {
  const std::vector<std::string> names = names_in(folder);
  return std::any_of(
      names.begin(), names.end(), [](const std::string& name) { return name.front() == '.'; });
}

/// How long it takes to start and to save four times.
std::int64_t microseconds_of_saves() {
  const TemporaryDirectory folder(memory_folder());
  const Clock::time_point begin = Clock::now();
  const pid_t child = ::fork();
  if (child == 0) {
    save_on_and_on(folder.path(), 1);
  }
  while (!std::filesystem::exists(folder.path() / "step_00000004") &&
         Clock::now() < begin + std::chrono::seconds(20)) {
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin).count();
}

}  // namespace

TEST_CASE("a thousand kills while saving never leave a folder that loads wrong", "[exec][ckpt]") {
  const TemporaryDirectory folder(memory_folder());
  Dice dice(1);
  const std::int64_t longest = microseconds_of_saves();
  const Deadline deadline = deadline_in(std::chrono::seconds(40));  // of a slow machine
  std::int64_t step = 0;
  int num_interrupted = 0;
  int num_kills = 0;
  for (; num_kills < 1000 && Clock::now() < deadline; ++num_kills) {
    const pid_t child = ::fork();
    if (child == 0) {
      save_on_and_on(folder.path(), step + 1);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(dice.between(0, longest)));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    const std::int64_t latest = latest_step(folder.path());
    REQUIRE(latest >= step);  // what was there is not lost
    step = latest;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
      if (entry.path().filename().string().starts_with("step_")) {
        REQUIRE_NOTHROW(CheckpointReader(entry.path()).verify());
      }
    }
    num_interrupted += is_interrupted(folder.path()) ? 1 : 0;
  }
  CAPTURE(longest, num_kills, step, num_interrupted);
  CHECK(step > num_kills / 10);  // the kills fell among saves
  CHECK(num_interrupted > num_kills / 10);
}
