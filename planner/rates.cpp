#include "planner/rates.hpp"

#include <algorithm>

namespace runflat::planner {
namespace {

class RateFinder {
 public:
  RateFinder(const HealthyJob& job, const PowerLimits& power, const ReplicaTime& replica_time)
      : job_(job), power_(power), replica_time_(replica_time) {}

  /// Whether a reduced replica can do this batch at this power within `limit`.
  [[nodiscard]] bool fits(std::int64_t degree,
                          std::int64_t microbatches,
                          double power,
                          Seconds limit) const {
    constexpr double kRounding = 1.0 + 1e-9;
    const auto time = replica_time_({.tp_size = degree,
                                     .sync_degree = degree,
                                     .num_microbatches = microbatches,
                                     .power = power});
    return time.has_value() && *time <= limit * kRounding;
  }

  /// The most microbatches within `limit`; the time of a step grows with them.
  [[nodiscard]] DegreeRate largest_batch(std::int64_t degree, double power, Seconds limit) const {
    std::int64_t low = 0;  // fits
    std::int64_t high = job_.num_microbatches + 1;
    while (high - low > 1) {
      const std::int64_t middle = low + (high - low) / 2;
      (fits(degree, middle, power, limit) ? low : high) = middle;
    }
    return {.num_microbatches = low,
            .share = static_cast<double>(low) / static_cast<double>(job_.num_microbatches),
            .power = power};
  }

  /// The least power that keeps the whole batch; the largest batch at full boost where none does.
  [[nodiscard]] DegreeRate boosted_batch(std::int64_t degree, Seconds limit) const {
    const double most = power_.boost(job_.tp, degree);
    if (!fits(degree, job_.num_microbatches, most, limit)) {
      return largest_batch(degree, most, limit);
    }
    if (fits(degree, job_.num_microbatches, 1.0, limit)) {
      return {.num_microbatches = job_.num_microbatches, .share = 1.0, .power = 1.0};
    }
    double low = 1.0;  // too slow
    double high = most;
    constexpr int kHalvings = 20;  // to a millionth of the nominal power
    for (int i = 0; i < kHalvings; ++i) {
      const double middle = 0.5 * (low + high);
      (fits(degree, job_.num_microbatches, middle, limit) ? high : low) = middle;
    }
    return {.num_microbatches = job_.num_microbatches, .share = 1.0, .power = high};
  }

 private:
  const HealthyJob& job_;
  const PowerLimits& power_;
  const ReplicaTime& replica_time_;
};

}  // namespace

double PowerLimits::boost(std::int64_t tp, std::int64_t tp_size) const {
  const auto rack = static_cast<double>(rack_gpus);
  const auto others = static_cast<double>(rack_gpus - tp);
  const double available = (rack_headroom * rack - others) / static_cast<double>(tp_size);
  return std::clamp(available, 1.0, std::max(1.0, max_boost));
}

Expected<PolicyRates, Infeasible> compute_rates(PolicyKind policy,
                                                const HealthyJob& job,
                                                const PowerLimits& power,
                                                const UniformRule& uniform_rule,
                                                const ReplicaTime& replica_time) {
  const auto healthy_time = [&](std::int64_t degree, std::int64_t sync_degree) {
    return replica_time({.tp_size = degree,
                         .sync_degree = sync_degree,
                         .num_microbatches = job.num_microbatches,
                         .power = 1.0});
  };
  const auto healthy = healthy_time(job.tp, job.tp);
  if (!healthy) {
    return healthy.error();
  }
  const RateFinder finder(job, power, replica_time);
  const auto num_degrees = static_cast<std::size_t>(job.tp) + 1;
  PolicyRates rates{.tp = static_cast<std::int32_t>(job.tp),
                    .sites_per_replica = job.sites_per_replica,
                    .num_replicas = job.num_replicas,
                    .reduced = std::vector<DegreeRate>(num_degrees),
                    .uniform = std::vector<double>(num_degrees, 0.0),
                    .healthy_slowdown = std::vector<double>(num_degrees, 1.0)};
  for (std::int64_t degree = 1; degree <= job.tp; ++degree) {
    const auto index = static_cast<std::size_t>(degree);
    const auto beside = healthy_time(job.tp, degree);
    if (beside) {
      rates.healthy_slowdown[index] = *beside / *healthy;
      rates.reduced[index] = policy == PolicyKind::ntp_pw
                                 ? finder.boosted_batch(degree, *beside)
                                 : finder.largest_batch(degree, 1.0, *beside);
    }
    if (uniform_rule(degree)) {
      const auto alone = healthy_time(degree, degree);
      rates.uniform[index] = alone ? *healthy / *alone : 0.0;
    }
  }
  return rates;
}

}  // namespace runflat::planner
