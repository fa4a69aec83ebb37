#include "exec/job/worker_process.hpp"

#include "core/error.hpp"

#include <fmt/format.h>

namespace runflat::exec {

std::vector<WorkerProcess> workers_of(const LaunchPlace& place, const Plan& plan) {
  const ParallelLayout& layout = plan.layout;
  const bool is_by_rank = place.world_size == layout.num_ranks();
  const bool is_by_node = !is_by_rank && place.world_size == plan.cluster.num_nodes;
  if (!is_by_rank && !is_by_node && place.world_size != 1) {
    throw ParseError(place.launcher,
                     "",
                     fmt::format("started {} processes, and the plan has {} ranks on {} nodes",
                                 place.world_size,
                                 layout.num_ranks(),
                                 plan.cluster.num_nodes));
  }
  std::vector<WorkerProcess> workers;
  for (std::int64_t rank = 0; rank < layout.num_ranks(); ++rank) {
    const GpuId gpu = layout.gpu_of(Rank(rank));
    const bool is_mine = is_by_rank   ? rank == place.rank
                         : is_by_node ? plan.cluster.node_of(gpu).value() == place.rank
                                      : true;
    if (is_mine) {
      const std::int64_t local_rank = is_by_rank   ? place.local_rank
                                      : is_by_node ? gpu.value() % plan.cluster.gpus_per_node
                                                   : rank;
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
