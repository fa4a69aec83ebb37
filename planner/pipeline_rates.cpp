#include "planner/pipeline_rates.hpp"

#include <algorithm>

namespace runflat::planner {
namespace {

/// Microbatches that a pipeline of this shape finishes within `limit`.
std::int64_t largest_batch(const HealthyJob& job,
                           const PipelineShape& shape,
                           Seconds limit,
                           const ReplicaTime& replica_time) {
  constexpr double kRounding = 1.0 + 1e-9;
  for (std::int64_t batch = job.num_microbatches; batch >= 1; --batch) {
    const auto step = replica_time({.tp_size = job.tp,
                                    .sync_degree = job.tp,
                                    .num_microbatches = batch,
                                    .num_stages = shape.num_stages,
                                    .num_virtual = shape.num_virtual});
    if (step && step->time <= limit * kRounding) {
      return batch;
    }
  }
  return 0;
}

}  // namespace

PipelineRates pipeline_rates(const HealthyJob& job,
                             const PipelineShape& shape,
                             const ReplicaTime& replica_time) {
  PipelineRates rates{
      .num_stages = shape.num_stages,
      .num_microbatches = job.num_microbatches,
      .bubble = static_cast<double>(shape.num_stages - 1) / static_cast<double>(shape.num_virtual),
      .shares = std::vector<double>(static_cast<std::size_t>(shape.num_stages), 0.0)};
  const auto healthy = replica_time(
      {.tp_size = job.tp, .sync_degree = job.tp, .num_microbatches = job.num_microbatches});
  if (!healthy) {
    return rates;
  }
  std::int64_t most = 0;
  for (std::int64_t length = 1; length < shape.num_stages; ++length) {
    for (std::int64_t chunks = 1; chunks <= shape.num_virtual; ++chunks) {
      most = std::max(most, largest_batch(job, {length, chunks}, healthy->time, replica_time));
    }
    rates.shares[static_cast<std::size_t>(length)] =
        static_cast<double>(most) / static_cast<double>(job.num_microbatches);
  }
  return rates;
}

}  // namespace runflat::planner
