// Runs the workers of a training job: all of them as threads (loopback), or the one that an agent
// has started this process for. `runflat train` starts it or the agent; exit status as there.

#include "core/error.hpp"
#include "exec/communication/gloo_transport.hpp"
#include "exec/communication/loopback_communicator.hpp"
#include "exec/communication/nccl_transport.hpp"
#include "exec/device/make_device.hpp"
#include "exec/job/exit_status.hpp"
#include "exec/job/job_worker.hpp"
#include "exec/job/train_arguments.hpp"
#include "exec/job/worker_process.hpp"
#include "exec/recovery/agreement.hpp"
#include "exec/store/memory_store.hpp"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fmt/format.h>
#include <memory>
#include <span>
#include <vector>

namespace runflat::exec {
namespace {

std::atomic<bool> is_stopping = false;

bool should_stop() {
  return is_stopping;
}

void run_threads(const TrainConfig& config, const TrainOptions& options) {
  if (!options.faults.empty()) {
    throw ParseError(
        "--inject",
        "",
        "faults strike processes: use --transport gloo; `runflat drill` strikes threads");
  }
  const TrainInput input = make_train_input(config);
  MemoryStore store;
  spawn(processes_of(config.plan), [&](ThreadRank& thread) {
    try {
      Backend backend = make_backend(options.backend, 0, config.trainer.type);
      run_job_worker(config,
                     options,
                     input,
                     backend,
                     {.compute = thread.transport,
                      .host = thread.transport,
                      .store = store,
                      .should_stop = &should_stop});
    } catch (...) {
      store.close("another worker has failed");  // nobody waits for it
      throw;
    }
  });
}

/// The GPU of a worker, or its number on this host where it has one for itself.
std::int64_t place_on_host(const WorkerProcess& self, std::int64_t ranks_per_gpu) {
  if (ranks_per_gpu == 1) {
    return self.local_rank;
  }
  const GpuShare place = gpu_share(self.local_rank, count_gpus(), ranks_per_gpu);
  if (place.share > 0) {
    ::setenv("NCCL_HOSTID", fmt::format("{}/{}", self.host, place.share).c_str(), 1);
  }
  return place.gpu;
}

void run_process(const TrainConfig& config,
                 const TrainOptions& options,
                 const WorkerProcess& self) {
  const TrainInput input = make_train_input(config);
  Backend backend = make_backend(
      options.backend, place_on_host(self, options.ranks_per_gpu), config.trainer.type);
  const std::shared_ptr<Store> store = make_store(self.store_url, config.trainer.timeout);
  const auto make_gloo = [&] {
    return make_gloo_transport({.store = store, .process = self.process, .host = self.host});
  };
  const bool is_nccl = options.transport == "nccl";
  const std::unique_ptr<Transport> compute =
      is_nccl ? make_nccl_transport(*backend.device, *store, self.process) : make_gloo();
  const std::unique_ptr<Transport> host = is_nccl && config.checkpoint.save ? make_gloo() : nullptr;
  run_job_worker(config,
                 options,
                 input,
                 backend,
                 {.compute = *compute,
                  .host = host ? *host : *compute,
                  .store = *store,
                  .life = self.life,
                  .ends_on_hang = true,
                  .should_stop = &should_stop});
}

void run(std::span<char*> words) {
  TrainArguments arguments = parse_train_arguments(words);
  arguments.options.version = RUNFLAT_VERSION;
  const TrainConfig config = load_train_config(arguments.config, arguments.overrides);
  if (const auto self = read_worker_process(&process_environment)) {
    run_process(config, arguments.options, *self);
  } else {
    run_threads(config, arguments.options);
  }
}

}  // namespace
}  // namespace runflat::exec

int main(int argc, char** argv) {
  using namespace runflat;
  std::signal(SIGTERM, [](int) { exec::is_stopping = true; });
  return exec::exit_status_of([&] { exec::run(std::span(argv, static_cast<std::size_t>(argc))); });
}
