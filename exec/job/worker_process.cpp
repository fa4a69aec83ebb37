#include "exec/job/worker_process.hpp"

#include "core/error.hpp"

#include <fmt/format.h>

namespace runflat::exec {

std::vector<WorkerProcess> workers_of(const LaunchPlace& place, const Plan& plan) {
  const std::vector<GpuId> gpus = gpus_of(plan);
  const bool is_by_gpu = place.world_size == std::ssize(gpus);
  const bool is_by_node = !is_by_gpu && place.world_size == plan.cluster.num_nodes;
  if (!is_by_gpu && !is_by_node && place.world_size != 1) {
    const std::int64_t num_spares = std::ssize(gpus) - plan.layout.num_ranks();
    throw ParseError(place.launcher,
                     "",
                     fmt::format("started {} processes, and the plan has {} ranks{} on {} nodes",
                                 place.world_size,
                                 plan.layout.num_ranks(),
                                 num_spares > 0 ? fmt::format(" and {} spares", num_spares) : "",
                                 plan.cluster.num_nodes));
  }
  std::vector<WorkerProcess> workers;
  for (std::int64_t i = 0; i < std::ssize(gpus); ++i) {
    const GpuId gpu = gpus[static_cast<std::size_t>(i)];
    const bool is_mine = is_by_gpu    ? i == place.rank
                         : is_by_node ? plan.cluster.node_of(gpu).value() == place.rank
                                      : true;
    if (is_mine) {
      const std::int64_t local_rank = is_by_gpu    ? place.local_rank
                                      : is_by_node ? gpu.value() % plan.cluster.gpus_per_node
                                                   : i;
      workers.push_back({.process = gpu.value(), .local_rank = local_rank});
    }
  }
  return workers;
}

GpuShare gpu_share(std::int64_t local_rank, std::int64_t num_gpus, std::int64_t ranks_per_gpu) {
  if (local_rank >= num_gpus * ranks_per_gpu) {
    throw ParseError("--ranks-per-gpu",
                     "",
                     fmt::format("{} ranks on each of {} GPUs leave none for local rank {}",
                                 ranks_per_gpu,
                                 num_gpus,
                                 local_rank));
  }
  return {.gpu = local_rank % num_gpus, .share = local_rank / num_gpus};
}

std::vector<std::string> to_environment(const WorkerProcess& worker) {
  return {fmt::format("RUNFLAT_PROCESS={}", worker.process),
          fmt::format("RUNFLAT_LIFE={}", worker.life),
          fmt::format("RUNFLAT_LOCAL_RANK={}", worker.local_rank),
          fmt::format("RUNFLAT_STORE={}", worker.store_url),
          fmt::format("RUNFLAT_HOST={}", worker.host)};
}

std::optional<WorkerProcess> read_worker_process(const Environment& environment) {
  const auto process = environment_number(environment, "RUNFLAT_PROCESS");
  if (!process) {
    return std::nullopt;
  }
  return WorkerProcess{
      .process = *process,
      .life = environment_number(environment, "RUNFLAT_LIFE").value_or(0),
      .local_rank = environment_number(environment, "RUNFLAT_LOCAL_RANK").value_or(0),
      .store_url = environment("RUNFLAT_STORE").value_or(""),
      .host = environment("RUNFLAT_HOST").value_or("127.0.0.1")};
}

}  // namespace runflat::exec
