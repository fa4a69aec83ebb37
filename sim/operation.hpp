#pragma once

#include <cstdint>
#include <functional>
#include <numeric>
#include <vector>

namespace runflat::sim {

/// The health of a job's TP sites, without saying which site is which: all that decides how fast a
/// policy can run. A site is the place of one TP group inside an NVLink domain; a domain of 72 GPUs
/// holds nine sites at TP 8.
struct SiteCensus {
  std::int64_t num_healthy = 0;          ///< sites with all their GPUs
  std::vector<std::int32_t> num_lost{};  ///< GPUs lost by each damaged site, most first; tp at most

  [[nodiscard]] std::int64_t num_damaged() const {
    return static_cast<std::int64_t>(num_lost.size());
  }
};

/// How a policy runs on a census: which sites play at which TP degree, and how fast.
struct Operation {
  double throughput = 0.0;           ///< tokens per second over the healthy job's; 0: cannot run
  std::int32_t full_degree = 0;      ///< of the full sites: tp, unless the whole job is reduced
  std::int64_t num_full_sites = 0;   ///< healthy sites at the full degree
  std::int64_t num_spare_sites = 0;  ///< healthy sites held in reserve
  std::vector<std::int32_t> damaged_degrees{};  ///< active ranks by census order; 0: site not used
  std::vector<std::int32_t> filler_degrees{};   ///< healthy sites that run below the full degree
  std::int32_t variant = 0;  ///< whose change costs it has, where a policy chooses among several

  [[nodiscard]] std::int64_t num_active_gpus() const {
    return std::accumulate(
        filler_degrees.begin(),
        filler_degrees.end(),
        std::accumulate(
            damaged_degrees.begin(), damaged_degrees.end(), num_full_sites * full_degree));
  }

  friend bool operator==(const Operation&, const Operation&) = default;
};

/// A recovery policy as the life of a job sees it: the best operation on a census.
using Replanner = std::function<Operation(const SiteCensus&)>;

}  // namespace runflat::sim
