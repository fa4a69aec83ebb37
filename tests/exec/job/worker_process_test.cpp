#include "exec/job/worker_process.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"

#include <map>
#include <set>
#include <utility>

namespace runflat::exec {
namespace {

TEST_CASE("ranks that share GPUs fill every GPU once before any has a second", "[worker_process]") {
  std::set<std::pair<std::int64_t, std::int64_t>> places;
  for (std::int64_t rank = 0; rank < 6; ++rank) {
    const GpuShare place = gpu_share(rank, 2, 3);
    CHECK(place.gpu + 2 * place.share == rank);
    CHECK(place.gpu < 2);
    places.insert({place.gpu, place.share});
  }
  CHECK(places.size() == 6);
  CHECK_THROWS_AS(gpu_share(6, 2, 3), ParseError);
  CHECK_THROWS_AS(gpu_share(0, 0, 3), ParseError);
}

TEST_CASE("a worker reads what its agent wrote", "[worker_process]") {
  const WorkerProcess worker{
      .process = 5, .life = 2, .local_rank = 1, .store_url = "dir:/tmp/x", .host = "node7"};
  std::map<std::string, std::string> variables;
  for (const std::string& entry : to_environment(worker)) {
    const std::size_t end = entry.find('=');
    variables[entry.substr(0, end)] = entry.substr(end + 1);
  }
  const auto environment = [&](const char* name) {
    const auto found = variables.find(name);
    return found != variables.end() ? std::optional(found->second) : std::nullopt;
  };
  CHECK(read_worker_process(environment) == worker);
  variables.erase("RUNFLAT_PROCESS");
  CHECK(read_worker_process(environment) == std::nullopt);
}

}  // namespace
}  // namespace runflat::exec
