#pragma once

#include "planner/policy.hpp"
#include "planner/rates.hpp"

#include <cstdint>

namespace runflat::planner {

/// A healthy pipeline: `num_stages` of it, each of `num_virtual` chunks of layers.
struct PipelineShape {
  std::int64_t num_stages = 1;
  std::int64_t num_virtual = 1;
};

/// The pipelines of the job. The bubble is that of 1F1B, (stages - 1) / virtual stages
/// microbatches. A shorter pipeline holds the same layers on fewer stages, with as many virtual
/// stages as serve it best, and its share is the largest batch whose step is no longer than a
/// healthy replica's.
[[nodiscard]] PipelineRates pipeline_rates(const HealthyJob& job,
                                           const PipelineShape& shape,
                                           const ReplicaTime& replica_time);

}  // namespace runflat::planner
