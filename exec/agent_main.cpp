// The agent of one place of a training job: starts the workers of its GPUs, watches over them and
// outlives them. `runflat train` starts it, alone or once for every place that a launcher gives;
// exit status as there.

#include "core/error.hpp"
#include "exec/device/xid_watch.hpp"
#include "exec/job/agent.hpp"
#include "exec/job/exit_status.hpp"
#include "exec/job/train_arguments.hpp"
#include "exec/recovery/agreement.hpp"

#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace runflat::exec {
namespace {

constexpr std::chrono::seconds kLeaveTaking{10};

/// A directory of this job alone.
std::filesystem::path make_directory() {
  std::string name = (std::filesystem::temp_directory_path() / "runflat-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    throw std::filesystem::filesystem_error(
        "cannot make", name, std::error_code(errno, std::generic_category()));
  }
  return name;
}

void run(std::span<char*> words) {
  const TrainArguments arguments = parse_train_arguments(words);
  const TrainConfig config = load_train_config(arguments.config, arguments.overrides);
  const auto launched = read_launch_place(&process_environment);
  const LaunchPlace place =
      launched.value_or(LaunchPlace{.launcher = "runflat", .is_one_host = true, .job = {}});
  std::vector<WorkerProcess> workers = workers_of(place, config.plan);
  MeetingPlace meeting;
  if (launched || process_environment("RUNFLAT_STORE") || !config.store.empty()) {
    meeting = meeting_place(place, config.store, &process_environment);
  } else {
    meeting.own_directory = make_directory();
    meeting.store_url = "dir:" + meeting.own_directory.string();
  }
  AgentConfig agent{
      .program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "runflat-train",
      .arguments = {words.begin() + 1, words.end()},
      .workers = std::move(workers),
      .all_processes = processes_of(config.plan),
      .recovery = config.recovery,
      .place = place.rank,
      .num_places = place.world_size};
  for (WorkerProcess& worker : agent.workers) {
    worker.store_url = meeting.store_url;
    worker.host = host_of(place, &process_environment);
  }
  const TrainOptions& options = arguments.options;
  if (options.backend == "cuda" && options.ranks_per_gpu == 1) {
    std::vector<std::int64_t> gpus;
    for (const WorkerProcess& worker : agent.workers) {
      gpus.push_back(worker.local_rank);
    }
    agent.take_xids = [watch = std::make_shared<XidWatch>(std::move(gpus))] {
      return watch->take();
    };
  }
  AgentEnd end;
  {
    const std::unique_ptr<Store> store = make_store(meeting.store_url, config.trainer.timeout);
    end = Agent(std::move(agent), *store).run();
    const Deadline deadline = deadline_in(kLeaveTaking);
    std::int64_t num_left = store->add("left", 1);
    while (place.rank == 0 && num_left < place.world_size && Clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      num_left = store->add("left", 0);
    }
  }
  if (place.rank == 0 && !meeting.own_directory.empty()) {
    std::filesystem::remove_all(meeting.own_directory);
  }
  if (end.status != 0) {
    throw ProgramEnd(end.status, end.reason);
  }
}

}  // namespace
}  // namespace runflat::exec

int main(int argc, char** argv) {
  using namespace runflat;
  return exec::exit_status_of([&] { exec::run(std::span(argv, static_cast<std::size_t>(argc))); });
}
