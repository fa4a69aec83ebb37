#include "planner/policy_family.hpp"

namespace runflat::planner {

using sim::Operation;
using sim::SiteCensus;

Operation on_healthy_sites(const PolicyRates& rates, const SiteCensus& census) {
  Operation operation;
  operation.full_degree = rates.tp;
  if (census.num_healthy >= rates.num_job_sites()) {
    operation.throughput = 1.0;
    operation.num_full_sites = rates.num_job_sites();
    operation.num_spare_sites = census.num_healthy - rates.num_job_sites();
  }
  return operation;
}

}  // namespace runflat::planner
