#pragma once

#include "exec/communication/communicator.hpp"
#include "exec/communication/gloo_transport.hpp"
#include "exec/communication/loopback_communicator.hpp"
#include "exec/communication/transport.hpp"
#include "exec/store/store.hpp"
#include "tests/exec/temporary_directory.hpp"

#include <chrono>
#include <csignal>
#include <cstdint>
#include <exception>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <numeric>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace runflat::tests {

using namespace std::chrono_literals;

/// What a rank of a test has. Ranks may be processes: they say what they saw by what they return,
/// and the test checks it.
struct TestRank {
  exec::Transport& transport;
  exec::Communicator& world;  // with a timeout of 20 s
};
using RunRank = std::function<std::string(TestRank&)>;

inline exec::GroupSpec world_spec(std::int64_t size) {
  exec::GroupSpec spec{.name = "all", .members = {}, .timeout = 20s};
  spec.members.resize(static_cast<std::size_t>(size));
  std::iota(spec.members.begin(), spec.members.end(), 0);
  return spec;
}

inline std::string run_in_world(exec::Transport& transport, std::int64_t size, const RunRank& run) {
  const auto world = transport.make_group(world_spec(size), exec::deadline_in(20s));
  if (!world) {
    return "no world";
  }
  TestRank rank{transport, *world};
  return run(rank);
}

/// Ranks as threads. One that throws RankDeath returns "dead".
inline std::vector<std::string> run_threads(std::int64_t size, const RunRank& run) {
  std::vector<std::string> results(static_cast<std::size_t>(size), "dead");
  exec::spawn(size, [&](exec::ThreadRank& self) {
    results[static_cast<std::size_t>(self.world.rank())] = run_in_world(self.transport, size, run);
  });
  return results;
}

/// Ranks as processes of this host, forked from this one, which must have a single thread.
class Processes {
 public:
  /// They meet in a directory, or in the store of `store_url`; process r listens on `hosts[r]`.
  explicit Processes(std::int64_t size,
                     const RunRank& run,
                     std::string store_url = "",
                     std::vector<std::string> hosts = {})
      : store_url_(store_url.empty() ? "dir:" + directory_.path().string() : store_url),
        hosts_(std::move(hosts)) {
    hosts_.resize(static_cast<std::size_t>(size), "127.0.0.1");
    for (std::int64_t rank = 0; rank < size; ++rank) {
      const pid_t process = ::fork();
      if (process == 0) {
        run_child(rank, size, run);
      }
      processes_.push_back(process);
    }
  }
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;
  ~Processes() {
    for (std::size_t rank = 0; rank < processes_.size(); ++rank) {
      kill(rank, SIGKILL);
    }
    (void)results();
  }

  void kill(std::size_t rank, int signal) const {
    if (processes_[rank] > 0) {
      ::kill(processes_[rank], signal);
    }
  }

  /// What the rank returns, once it has ended; "dead" when it was killed.
  [[nodiscard]] std::string result(std::size_t rank) {
    if (processes_[rank] > 0) {
      ::waitpid(processes_[rank], nullptr, 0);
      processes_[rank] = 0;
    }
    std::ifstream file(result_path(rank), std::ios::binary);
    return file ? std::string(std::istreambuf_iterator<char>(file), {}) : "dead";
  }
  [[nodiscard]] std::vector<std::string> results() {
    std::vector<std::string> results;
    for (std::size_t rank = 0; rank < processes_.size(); ++rank) {
      results.push_back(result(rank));
    }
    return results;
  }

 private:
  [[noreturn]] void run_child(std::int64_t rank, std::int64_t size, const RunRank& run) const {
    std::string result;
    try {
      const auto transport =
          exec::make_gloo_transport({.store = exec::make_store(store_url_, 10s),
                                     .process = rank,
                                     .host = hosts_[static_cast<std::size_t>(rank)]});
      result = run_in_world(*transport, size, run);
    } catch (const exec::RankDeath&) {
      ::_exit(1);
    } catch (const std::exception& error) {
      result = error.what();
    }
    std::ofstream(result_path(static_cast<std::size_t>(rank)), std::ios::binary) << result;
    ::_exit(0);
  }
  [[nodiscard]] std::filesystem::path result_path(std::size_t rank) const {
    return directory_.path() / (".result" + std::to_string(rank));
  }

  TemporaryDirectory directory_;
  std::string store_url_;
  std::vector<std::string> hosts_;
  std::vector<pid_t> processes_;
};

inline std::vector<std::string> run_processes(std::int64_t size, const RunRank& run) {
  return Processes(size, run).results();
}

/// Runs ranks one way or the other.
struct World {
  const char* name = "";
  std::vector<std::string> (*run)(std::int64_t size, const RunRank& run) = nullptr;
};
inline constexpr World kThreads{"loopback threads", run_threads};
inline constexpr World kProcesses{"Gloo processes", run_processes};

inline std::string name_of(exec::SyncStatus status) {
  switch (status) {
    case exec::SyncStatus::done:
      return "done";
    case exec::SyncStatus::peer_lost:
      return "peer_lost";
    case exec::SyncStatus::timed_out:
      return "timed_out";
  }
  return "?";
}

}  // namespace runflat::tests
