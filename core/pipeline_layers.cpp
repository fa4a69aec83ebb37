#include "core/pipeline_layers.hpp"

#include "core/error.hpp"

namespace runflat {

std::vector<PpRank> stages_of_layers(std::int64_t num_layers, std::int64_t pp, std::int64_t vpp) {
  require(num_layers >= 0 && pp >= 1 && vpp >= 1, "a pipeline has layers and stages");
  const std::int64_t num_chunks = pp * vpp;
  const std::int64_t most = (num_layers + num_chunks - 1) / num_chunks;
  const std::int64_t num_short = most * num_chunks - num_layers;
  std::vector<PpRank> stages;
  stages.reserve(static_cast<std::size_t>(num_layers));
  for (std::int64_t chunk = 0; chunk < num_chunks; ++chunk) {
    const bool is_short = chunk < num_short / 2 || chunk >= num_chunks - (num_short + 1) / 2;
    stages.insert(
        stages.end(), static_cast<std::size_t>(most - (is_short ? 1 : 0)), PpRank(chunk % pp));
  }
  return stages;
}

}  // namespace runflat
