#include "planner/policy_family.hpp"

#include <algorithm>

namespace runflat::planner {

sim::Operation from_templates(const PolicyRates& rates, const sim::SiteCensus& census) {
  const PipelineRates& pipeline = rates.pipeline;
  const std::int64_t per_stage = rates.sites_per_replica / pipeline.num_stages;
  const std::int64_t most = rates.num_replicas * pipeline.num_stages;
  const std::int64_t num_stages = std::min(most, census.num_healthy / per_stage);
  double best = 0.0;
  std::int64_t used = 0;
  for (std::int64_t num = rates.num_replicas; num >= 1; --num) {
    const std::int64_t length = std::min(pipeline.num_stages, num_stages / num);
    const std::int64_t longer = length < pipeline.num_stages ? num_stages % num : 0;
    const double batch = static_cast<double>(num - longer) * pipeline.share_of(length) +
                         static_cast<double>(longer) * pipeline.share_of(length + 1);
    if (batch > best) {
      best = batch;
      used =
          (pipeline.share_of(length) > 0.0 ? (num - longer) * length : 0) + longer * (length + 1);
    }
    if (length == pipeline.num_stages) {
      break;  // fewer pipelines leave whole ones out
    }
  }
  sim::Operation operation;
  operation.full_degree = rates.tp;
  operation.throughput = best / static_cast<double>(rates.num_replicas);
  operation.num_full_sites = used * per_stage;
  operation.num_spare_sites = std::clamp<std::int64_t>(
      num_sites(census) - rates.num_job_sites(), 0, census.num_healthy - operation.num_full_sites);
  return operation;
}

}  // namespace runflat::planner
