#include "exec/job/launch_environment.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <fmt/format.h>
#include <unistd.h>

namespace runflat::exec {
namespace {

/// The names of one launcher's variables.
struct Variables {
  const char* launcher;
  const char* rank;
  const char* world_size;
  const char* local_rank;
  const char* local_size;
};

constexpr std::array kLaunchers = {
    Variables{"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"},
    Variables{"Open MPI",
              "OMPI_COMM_WORLD_RANK",
              "OMPI_COMM_WORLD_SIZE",
              "OMPI_COMM_WORLD_LOCAL_RANK",
              "OMPI_COMM_WORLD_LOCAL_SIZE"},
    // The step's size: SLURM_NTASKS is also there in a batch script, which is no rank.
    Variables{"Slurm", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", nullptr},
    Variables{"MPI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
    // An indexed Job's pods know their index; how many they are, the manifest of `runflat launch`.
    Variables{"Kubernetes", "JOB_COMPLETION_INDEX", "RUNFLAT_NUM_PODS", nullptr, nullptr}};

bool is_this_host(const std::string& address) {
  return address == "localhost" || address == "127.0.0.1" || address == "::1";
}

bool is_one_host(const Variables& names, const Environment& environment, std::int64_t world_size) {
  if (std::string_view(names.launcher) == "Slurm") {
    return environment_number(environment, "SLURM_STEP_NUM_NODES") == 1;
  }
  if (const auto local_size = environment_number(environment, names.local_size)) {
    return *local_size == world_size;
  }
  return is_this_host(environment("MASTER_ADDR").value_or(""));
}

/// What tells the jobs of this launcher apart on one host.
std::string job_of(const Environment& environment) {
  std::string job;
  for (const char* name : {"TORCHELASTIC_RUN_ID",
                           "TORCHELASTIC_RESTART_COUNT",
                           "MASTER_PORT",
                           "PMIX_NAMESPACE",
                           "OMPI_MCA_ess_base_jobid",
                           "SLURM_JOB_ID",
                           "SLURM_STEP_ID",
                           "SLURM_RESTART_COUNT",
                           "PMI_JOBID"}) {
    for (const char c : environment(name).value_or("")) {
      const bool is_plain =
          (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
      job += is_plain ? c : '_';
    }
    job += '.';
  }
  job.erase(std::find_if(job.rbegin(), job.rend(), [](char c) { return c != '.'; }).base(),
            job.end());
  return job;
}

}  // namespace

std::optional<std::int64_t> environment_number(const Environment& environment, const char* name) {
  const std::optional<std::string> text = name != nullptr ? environment(name) : std::nullopt;
  if (!text) {
    return std::nullopt;
  }
  std::int64_t value = 0;
  const char* last = text->data() + text->size();
  const auto [end, error] = std::from_chars(text->data(), last, value);
  if (error != std::errc() || end != last || value < 0) {
    throw ParseError(name, "", fmt::format("expected a number of at least 0, found '{}'", *text));
  }
  return value;
}

std::optional<std::string> process_environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? std::optional<std::string>(value) : std::nullopt;
}

std::optional<LaunchPlace> read_launch_place(const Environment& environment) {
  for (const Variables& names : kLaunchers) {
    const auto rank = environment_number(environment, names.rank);
    const auto world_size = environment_number(environment, names.world_size);
    if (!rank || !world_size) {
      continue;
    }
    if (*rank >= *world_size) {
      throw ParseError(
          names.rank,
          "",
          fmt::format("{} is not below {} = {}", *rank, names.world_size, *world_size));
    }
    if (*world_size == 1) {
      return std::nullopt;
    }
    return LaunchPlace{.launcher = names.launcher,
                       .rank = *rank,
                       .world_size = *world_size,
                       .local_rank = environment_number(environment, names.local_rank).value_or(0),
                       .is_one_host = is_one_host(names, environment, *world_size),
                       .job = job_of(environment)};
  }
  return std::nullopt;
}

MeetingPlace meeting_place(const LaunchPlace& place,
                           const std::string& configured,
                           const Environment& environment) {
  if (const auto url = environment("RUNFLAT_STORE")) {
    return {.store_url = *url, .own_directory = {}};
  }
  if (!configured.empty()) {
    return {.store_url = configured, .own_directory = {}};
  }
  if (!place.is_one_host || place.job.empty()) {
    throw ParseError(
        "RUNFLAT_STORE",
        "",
        fmt::format("is not set, and neither is the key store: {} ranks of {} need a "
                    "place to meet, as redis://:password@host:6379/job, the same for all",
                    place.world_size,
                    place.launcher));
  }
  const std::filesystem::path directory =
      std::filesystem::temp_directory_path() / fmt::format("runflat-{}-{}", getuid(), place.job);
  return {.store_url = "dir:" + directory.string(), .own_directory = directory};
}

std::string host_of(const LaunchPlace& place, const Environment& environment) {
  if (const auto host = environment("RUNFLAT_HOST")) {
    return *host;
  }
  if (place.is_one_host) {
    return "127.0.0.1";
  }
  std::array<char, HOST_NAME_MAX + 1> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

}  // namespace runflat::exec
