#include "exec/job/launch_environment.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"

#include <map>

using namespace runflat;
using namespace runflat::exec;

namespace {

using Variables = std::map<std::string, std::string>;

Environment environment_of(const Variables& variables) {
  return [variables](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
}

std::optional<LaunchPlace> place_of(const Variables& variables) {
  return read_launch_place(environment_of(variables));
}

const Variables kTorchrun = {{"RANK", "3"},
                             {"WORLD_SIZE", "4"},
                             {"LOCAL_RANK", "1"},
                             {"LOCAL_WORLD_SIZE", "2"},
                             {"MASTER_ADDR", "node7"},
                             {"MASTER_PORT", "29500"},
                             {"TORCHELASTIC_RUN_ID", "a/b"}};
const Variables kSlurm = {{"SLURM_PROCID", "2"},
                          {"SLURM_STEP_NUM_TASKS", "3"},
                          {"SLURM_LOCALID", "2"},
                          {"SLURM_STEP_NUM_NODES", "1"},
                          {"SLURM_JOB_ID", "17"},
                          {"SLURM_STEP_ID", "0"}};

std::string store_url(const LaunchPlace& place,
                      const std::string& configured,
                      const Environment& environment) {
  return meeting_place(place, configured, environment).store_url;
}

}  // namespace

TEST_CASE("each launcher's variables give the place", "[exec][launch]") {
  CHECK(place_of({}) == std::nullopt);
  const auto torchrun = place_of(kTorchrun);
  REQUIRE(torchrun);
  CHECK(torchrun->launcher == "torchrun");
  CHECK(torchrun->rank == 3);
  CHECK(torchrun->world_size == 4);
  CHECK(torchrun->local_rank == 1);
  CHECK_FALSE(torchrun->is_one_host);

  const auto slurm = place_of(kSlurm);
  REQUIRE(slurm);
  CHECK(slurm->launcher == "Slurm");
  CHECK(slurm->rank == 2);
  CHECK(slurm->world_size == 3);
  CHECK(slurm->is_one_host);

  const auto open_mpi = place_of({{"OMPI_COMM_WORLD_RANK", "1"},
                                  {"OMPI_COMM_WORLD_SIZE", "2"},
                                  {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                  {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                                  {"PMIX_NAMESPACE", "123"}});
  REQUIRE(open_mpi);
  CHECK(open_mpi->launcher == "Open MPI");
  CHECK(open_mpi->rank == 1);
  CHECK(open_mpi->is_one_host);

  const auto mpi = place_of({{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}, {"MPI_LOCALNRANKS", "1"}});
  REQUIRE(mpi);
  CHECK(mpi->launcher == "MPI");
  CHECK_FALSE(mpi->is_one_host);

  const auto pod = place_of({{"JOB_COMPLETION_INDEX", "1"}, {"RUNFLAT_NUM_PODS", "3"}});
  REQUIRE(pod);
  CHECK(pod->launcher == "Kubernetes");
  CHECK(pod->rank == 1);
  CHECK(pod->world_size == 3);
  CHECK(pod->local_rank == 0);
  CHECK_FALSE(pod->is_one_host);
}

TEST_CASE("one process alone, or a batch script, is no rank", "[exec][launch]") {
  CHECK(place_of({{"RANK", "0"}, {"WORLD_SIZE", "1"}}) == std::nullopt);
  CHECK(place_of({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_JOB_ID", "1"}}) ==
        std::nullopt);
}

TEST_CASE("what is no place is named", "[exec][launch]") {
  CHECK_THROWS_WITH(place_of({{"RANK", "x"}, {"WORLD_SIZE", "2"}}),
                    "RANK: expected a number of at least 0, found 'x'");
  CHECK_THROWS_WITH(place_of({{"RANK", "2"}, {"WORLD_SIZE", "2"}}),
                    "RANK: 2 is not below WORLD_SIZE = 2");
}

TEST_CASE("ranks of one host meet in a directory of their job", "[exec][launch]") {
  const LaunchPlace place = place_of(kSlurm).value();
  const Environment none = environment_of({});
  const std::string url = store_url(place, "", none);
  CHECK(url == "dir:" + meeting_place(place, "", none).own_directory.string());
  CHECK(meeting_place(place, "redis://a", none).own_directory.empty());
  Variables next = kSlurm;
  next["SLURM_STEP_ID"] = "1";
  CHECK(store_url(place_of(next).value(), "", none) != url);
  CHECK(store_url(place, "redis://a", none) == "redis://a");
  CHECK(store_url(place, "redis://a", environment_of({{"RUNFLAT_STORE", "redis://b"}})) ==
        "redis://b");
  CHECK(host_of(place, none) == "127.0.0.1");
  CHECK(host_of(place, environment_of({{"RUNFLAT_HOST", "10.0.0.1"}})) == "10.0.0.1");
}

TEST_CASE("ranks of several hosts must be told where", "[exec][launch]") {
  const LaunchPlace place = place_of(kTorchrun).value();
  CHECK_THROWS_AS(store_url(place, "", environment_of({})), ParseError);
  CHECK(store_url(place, "redis://a", environment_of({})) == "redis://a");
  CHECK(host_of(place, environment_of({})) != "127.0.0.1");
  Variables local = kTorchrun;
  local.erase("LOCAL_WORLD_SIZE");
  CHECK_FALSE(place_of(local)->is_one_host);
  local["MASTER_ADDR"] = "127.0.0.1";
  CHECK(place_of(local)->is_one_host);
}
