#pragma once

#include "planner/rates.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace runflat::planner {

/// The job of reference/ntp.md R10: 128 replicas of 8 NVL32 domains, 8 sequences each.
inline constexpr HealthyJob kPaperJob{
    .tp = 32, .sites_per_replica = 8, .num_replicas = 128, .num_microbatches = 8};

/// Speed over power, fitted to the paper's two points (reference/ntp.md section 2.2):
/// ln perf = 0.779 x - 0.811 x^2, x = ln(P / TDP).
[[nodiscard]] inline double paper_speed(double power) {
  const double x = std::log(power);
  return std::exp(0.779 * x - 0.811 * x * x);
}

/// Step time of a replica of the paper's model by reference/ntp.md section 2.2, the healthy one's
/// is 1 s: b / 8 (a ceil(H / N2) / (H / N1) + (1 - a) N1 / N2) / speed, with 128 heads and the
/// attention share a = 0.41. Resharding costs nothing.
[[nodiscard]] inline ReplicaTime paper_replica_time() {
  return [](const ReplicaQuery& query) -> Expected<ReplicaStep, Infeasible> {
    if (query.tp_size < 28) {
      return Infeasible{"the paper runs no replica below TP 28"};
    }
    constexpr double kAttention = 0.41;
    constexpr std::int64_t kHeads = 128;
    const auto tp = static_cast<double>(query.tp_size);
    const auto heads = static_cast<double>((kHeads + query.tp_size - 1) / query.tp_size);
    const double attention = heads / (static_cast<double>(kHeads) / 32.0);
    const double slowdown = kAttention * attention + (1.0 - kAttention) * 32.0 / tp;
    return ReplicaStep(Seconds{static_cast<double>(query.num_microbatches) / 8.0 * slowdown /
                               paper_speed(query.power)});
  };
}

}  // namespace runflat::planner
