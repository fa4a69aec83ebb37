#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace runflat::exec {

/// The value of an environment variable, or nothing.
using Environment = std::function<std::optional<std::string>(const char* name)>;

[[nodiscard]] std::optional<std::string> process_environment(const char* name);

/// A variable that is a number of at least 0, or nothing. ParseError for what is no number.
[[nodiscard]] std::optional<std::int64_t> environment_number(const Environment& environment,
                                                             const char* name);

/// The place of this process in a job whose processes a launcher has started.
struct LaunchPlace {
  std::string launcher;  ///< what a person calls it: torchrun, Slurm, Open MPI, MPI, Kubernetes
  std::int64_t rank = 0;
  std::int64_t world_size = 1;
  std::int64_t local_rank = 0;  ///< among the ranks of this host
  bool is_one_host = false;
  std::string job;  ///< names the job among those of this host

  friend bool operator==(const LaunchPlace&, const LaunchPlace&) = default;
};

/// What torchrun (RANK, WORLD_SIZE, ...), Open MPI (OMPI_COMM_WORLD_*), srun (SLURM_*), an mpirun
/// with PMI (PMI_*) or an indexed Kubernetes Job (JOB_COMPLETION_INDEX, RUNFLAT_NUM_PODS) says, the
/// first of them that says something. Nothing without a launcher, and in
/// a job of one process, which is free to start ranks of its own. ParseError for what is no place.
[[nodiscard]] std::optional<LaunchPlace> read_launch_place(const Environment& environment);

/// Where the processes of a job meet.
struct MeetingPlace {
  std::string store_url;
  std::filesystem::path own_directory;  ///< made for this job alone; empty: somebody else's store
};

/// RUNFLAT_STORE, or `configured`, or, where all ranks are on one host, a directory for the job
/// under the system's temporary directory. ParseError that tells what to set for several hosts.
[[nodiscard]] MeetingPlace meeting_place(const LaunchPlace& place,
                                         const std::string& configured,
                                         const Environment& environment);

/// The address under which the peers of this process reach its host: RUNFLAT_HOST, or the loopback
/// address on one host, or the host's name.
[[nodiscard]] std::string host_of(const LaunchPlace& place, const Environment& environment);

}  // namespace runflat::exec
