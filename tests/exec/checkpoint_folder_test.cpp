#include "exec/checkpoint_folder.hpp"

#include "exec/loopback_communicator.hpp"
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

}  // namespace

TEST_CASE("a thousand kills while saving never leave a folder that loads wrong", "[exec][ckpt]") {
  const TemporaryDirectory folder(memory_folder());
  Dice dice(1);
  std::int64_t step = 0;
  int num_interrupted = 0;
  for (int kill = 0; kill < 1000; ++kill) {
    const pid_t child = ::fork();
    if (child == 0) {
      save_on_and_on(folder.path(), step + 1);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(dice.between(0, 12'000)));
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
  CHECK(step > 100);
  CHECK(num_interrupted > 100);  // the kills fell among saves
}
