#pragma once

#include "core/plan.hpp"
#include "exec/job/launch_environment.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace runflat::exec {

/// What an agent tells a worker that it starts, by the environment.
struct WorkerProcess {
  std::int64_t process = 0;     ///< its number in the job: RUNFLAT_PROCESS
  std::int64_t life = 1;        ///< RUNFLAT_LIFE
  std::int64_t local_rank = 0;  ///< its GPU on this host: RUNFLAT_LOCAL_RANK
  std::string store_url{};      ///< RUNFLAT_STORE
  std::string host{};           ///< where its peers reach it: RUNFLAT_HOST

  friend bool operator==(const WorkerProcess&, const WorkerProcess&) = default;
};

/// The workers of a place in a job, without lives and stores: one where a launcher started a
/// process for each of the job's GPUs (gpus_of), in their order; those of a node's GPUs where it
/// started one for every node; all of them where there is one place. ParseError where it is none of
/// these.
[[nodiscard]] std::vector<WorkerProcess> workers_of(const LaunchPlace& place, const Plan& plan);

/// The GPU of a worker where several share one: the first ranks of a host have one each, the next
/// as many again. NCCL takes one rank of a host per GPU: the workers of each share count as a host
/// of their own, which talks to the others by the network. For trying out layouts that need more
/// GPUs, not for speed. ParseError where more would share one than are asked to.
struct GpuShare {
  std::int64_t gpu = 0;
  std::int64_t share = 0;  ///< from 0

  friend bool operator==(const GpuShare&, const GpuShare&) = default;
};
[[nodiscard]] GpuShare gpu_share(std::int64_t local_rank,
                                 std::int64_t num_gpus,
                                 std::int64_t ranks_per_gpu);

/// As `NAME=value`.
[[nodiscard]] std::vector<std::string> to_environment(const WorkerProcess& worker);
/// Nothing in a process that no agent has started. ParseError for what is no place.
[[nodiscard]] std::optional<WorkerProcess> read_worker_process(const Environment& environment);

}  // namespace runflat::exec
