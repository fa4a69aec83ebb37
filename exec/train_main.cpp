// Runs the ranks of a training job: all of them as threads (loopback), or the one that the
// environment says. `runflat train` starts it; exit status as there.

#include "core/error.hpp"
#include "exec/command_line.hpp"
#include "exec/exit_status.hpp"
#include "exec/gloo_transport.hpp"
#include "exec/launch_environment.hpp"
#include "exec/loopback_communicator.hpp"
#include "exec/make_device.hpp"
#include "exec/store.hpp"
#include "exec/train_job.hpp"

#include <atomic>
#include <csignal>
#include <filesystem>
#include <fmt/format.h>
#include <span>
#include <string>
#include <unistd.h>
#include <vector>

namespace runflat::exec {
namespace {

std::atomic<bool> is_stopping = false;

bool should_stop() {
  return is_stopping;
}

struct Arguments {
  std::filesystem::path config;
  std::vector<std::string> overrides;
  TrainOptions options;
};

Arguments parse(std::span<char*> words) {
  Arguments arguments;
  arguments.options.version = RUNFLAT_VERSION;
  read_command_line(
      words,
      [&](const std::string& word) { arguments.config = word; },
      [&](const std::string& option, const std::string& value) {
        if (option == "--backend") {
          arguments.options.backend = value;
        } else if (option == "--transport") {
          arguments.options.transport = value;
        } else if (option == "--log") {
          arguments.options.log = value;
        } else if (option == "--timeline") {
          arguments.options.timeline = value;
        } else if (option == "--set") {
          arguments.overrides.push_back(value);
        } else {
          return false;
        }
        return true;
      });
  return arguments;
}

/// The transport that was asked for, or the usual one.
std::string transport_of(const TrainOptions& options, bool is_launched) {
  const bool is_cuda = options.backend == "cuda";
  if (options.transport.empty()) {
    return is_cuda ? "nccl" : is_launched ? "gloo" : "loopback";
  }
  if (options.transport != "loopback" && options.transport != "gloo" &&
      options.transport != "nccl") {
    throw ParseError(
        "--transport", "", "expected loopback, gloo or nccl, found " + options.transport);
  }
  if (is_cuda != (options.transport == "nccl")) {
    throw ParseError("--transport", "", "nccl goes with --backend cuda, and the others with cpu");
  }
  return options.transport;
}

void run_threads(const TrainConfig& config, const TrainOptions& options) {
  const ParallelLayout& layout = config.plan.layout;
  std::vector<std::int64_t> processes;
  for (std::int64_t rank = 0; rank < layout.num_ranks(); ++rank) {
    processes.push_back(layout.gpu_of(Rank(rank)).value());
  }
  const TrainInput input = make_train_input(config);
  spawn(processes, [&](ThreadRank& thread) {
    Backend backend = make_backend(options.backend, 0, config.trainer.type);
    const RankTransports transports{.compute = thread.transport, .host = thread.transport};
    train_rank(config, options, input, backend, transports, &should_stop);
  });
}

void run_process(const TrainConfig& config, const TrainOptions& options, const LaunchPlace& place) {
  const ParallelLayout& layout = config.plan.layout;
  if (place.world_size != layout.num_ranks()) {
    throw ParseError(
        place.launcher,
        "",
        fmt::format("started {} ranks, and the plan has {}", place.world_size, layout.num_ranks()));
  }
  const std::int64_t process = layout.gpu_of(Rank(place.rank)).value();
  const MeetingPlace meeting = meeting_place(place, config.store, &process_environment);
  const TrainInput input = make_train_input(config);
  Backend backend = make_backend(options.backend, place.local_rank, config.trainer.type);
  const std::shared_ptr<Store> store = make_store(meeting.store_url, config.trainer.timeout);
  const auto make_gloo = [&] {
    return make_gloo_transport(
        {.store = store, .process = process, .host = host_of(place, &process_environment)});
  };
  const bool is_nccl = options.transport == "nccl";
  const std::unique_ptr<Transport> compute =
      is_nccl ? make_nccl_transport(*backend.device, *store, process) : make_gloo();
  const std::unique_ptr<Transport> host = is_nccl && config.checkpoint.save ? make_gloo() : nullptr;
  const RankTransports transports{.compute = *compute, .host = host ? *host : *compute};
  train_rank(config, options, input, backend, transports, &should_stop);
  if (place.rank == 0 && !meeting.own_directory.empty()) {
    std::filesystem::remove_all(meeting.own_directory);  // all are past it
  }
}

void run(std::span<char*> words) {
  Arguments arguments = parse(words);
  const TrainConfig config = load_train_config(arguments.config, arguments.overrides);
  const std::optional<LaunchPlace> place = read_launch_place(&process_environment);
  TrainOptions& options = arguments.options;
  options.transport = transport_of(options, place.has_value());
  if (options.transport == "loopback") {
    if (place) {
      throw ParseError("--transport",
                       "",
                       fmt::format("loopback runs all ranks in one process, and {} has started {}",
                                   place->launcher,
                                   place->world_size));
    }
    run_threads(config, options);
    return;
  }
  const LaunchPlace alone{
      .launcher = "runflat", .is_one_host = true, .job = fmt::format("{}", getpid())};
  if (!place && config.plan.layout.num_ranks() > 1) {
    throw ParseError(
        "--transport", "", options.transport + " runs one rank of those a launcher starts");
  }
  run_process(config, options, place.value_or(alone));
}

}  // namespace
}  // namespace runflat::exec

int main(int argc, char** argv) {
  using namespace runflat;
  std::signal(SIGTERM, [](int) { exec::is_stopping = true; });
  return exec::exit_status_of([&] { exec::run(std::span(argv, static_cast<std::size_t>(argc))); });
}
