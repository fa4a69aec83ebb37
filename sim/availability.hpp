#pragma once

#include <cstdint>

namespace runflat::sim {

class RandomStream;

/// Failures of single GPUs, each set of failed GPUs equally likely: the closed forms behind the
/// loss of domains and replicas (reference/ntp.md section 2.2).
struct FailedGpus {
  std::int64_t num_gpus = 0;
  std::int64_t num_failed = 0;  ///< 0 to num_gpus

  /// The whole number of GPUs nearest to `fraction`, 0 to 1.
  [[nodiscard]] static FailedGpus of_fraction(std::int64_t num_gpus, double fraction);
};

/// Probability that no GPU of a group of `group_size` has failed: C(N - D, n) / C(N, n).
[[nodiscard]] double group_availability(const FailedGpus& gpus, std::int64_t group_size);

/// Expected fraction of domains with a failed GPU: 1 - group_availability.
[[nodiscard]] double bad_domain_fraction(const FailedGpus& gpus, std::int64_t domain_size);

/// Replicas arranged so that the `num_bad_domains` lie in the fewest: ceil(m / R).
[[nodiscard]] std::int64_t packed_replicas(std::int64_t num_bad_domains,
                                           std::int64_t domains_per_replica);

/// Expected fraction of replicas, of consecutive GPUs, that a failed GPU lies in: what dropping
/// whole replicas loses when domains are not rearranged.
[[nodiscard]] double unpacked_dp_drop_loss(const FailedGpus& gpus, std::int64_t replica_size);

/// The number of domains, of consecutive GPUs, with a failed GPU in one uniform placement.
[[nodiscard]] std::int64_t sample_bad_domains(const FailedGpus& gpus,
                                              std::int64_t domain_size,
                                              RandomStream& stream);

}  // namespace runflat::sim
