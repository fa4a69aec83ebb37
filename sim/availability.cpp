#include "sim/availability.hpp"

#include "core/error.hpp"
#include "sim/random.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace runflat::sim {
namespace {

void require_valid(const FailedGpus& gpus, std::int64_t group_size) {
  require(gpus.num_gpus > 0 && gpus.num_failed >= 0 && gpus.num_failed <= gpus.num_gpus,
          "between none and all of the GPUs have failed");
  require(group_size > 0 && group_size <= gpus.num_gpus, "a group has between 1 and all GPUs");
}

}  // namespace

FailedGpus FailedGpus::of_fraction(std::int64_t num_gpus, double fraction) {
  require(fraction >= 0.0 && fraction <= 1.0, "a fraction lies between 0 and 1");
  return {num_gpus, std::llround(static_cast<double>(num_gpus) * fraction)};
}

double group_availability(const FailedGpus& gpus, std::int64_t group_size) {
  require_valid(gpus, group_size);
  // C(N - D, n) / C(N, n) is a product of D factors, and of n by the symmetry of D and n.
  const std::int64_t num_factors = std::min(group_size, gpus.num_failed);
  const std::int64_t removed = std::max(group_size, gpus.num_failed);
  double product = 1.0;
  for (std::int64_t i = 0; i < num_factors && product > 0.0; ++i) {
    const auto left = static_cast<double>(std::max<std::int64_t>(gpus.num_gpus - removed - i, 0));
    product *= left / static_cast<double>(gpus.num_gpus - i);
  }
  return product;
}

double bad_domain_fraction(const FailedGpus& gpus, std::int64_t domain_size) {
  return 1.0 - group_availability(gpus, domain_size);
}

std::int64_t packed_replicas(std::int64_t num_bad_domains, std::int64_t domains_per_replica) {
  require(num_bad_domains >= 0 && domains_per_replica > 0, "a replica has at least one domain");
  return (num_bad_domains + domains_per_replica - 1) / domains_per_replica;
}

double unpacked_dp_drop_loss(const FailedGpus& gpus, std::int64_t replica_size) {
  return 1.0 - group_availability(gpus, replica_size);
}

std::int64_t sample_bad_domains(const FailedGpus& gpus,
                                std::int64_t domain_size,
                                RandomStream& stream) {
  require_valid(gpus, domain_size);
  require(gpus.num_gpus <= std::numeric_limits<std::uint32_t>::max(), "at most 2^32 - 1 GPUs");
  // Floyd's sampling without replacement (Comm. ACM 30, 1987).
  std::vector<bool> failed(static_cast<std::size_t>(gpus.num_gpus));
  std::vector<bool> bad(static_cast<std::size_t>((gpus.num_gpus + domain_size - 1) / domain_size));
  std::int64_t num_bad = 0;
  for (std::int64_t last = gpus.num_gpus - gpus.num_failed; last < gpus.num_gpus; ++last) {
    const std::int64_t drawn = stream.below(static_cast<std::uint32_t>(last + 1));
    const std::int64_t gpu = failed[static_cast<std::size_t>(drawn)] ? last : drawn;
    failed[static_cast<std::size_t>(gpu)] = true;
    const auto domain = static_cast<std::size_t>(gpu / domain_size);
    num_bad += bad[domain] ? 0 : 1;
    bad[domain] = true;
  }
  return num_bad;
}

}  // namespace runflat::sim
