#include "planner/rates.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace runflat::planner {
namespace {

class RateFinder {
 public:
  RateFinder(const HealthyJob& job, const PowerLimits& power, const ReplicaTime& replica_time)
      : job_(job), power_(power), replica_time_(replica_time) {}

  /// The most microbatches within `limit` at this power.
  [[nodiscard]] DegreeRate largest_batch(std::int64_t degree, double power, Seconds limit) const {
    std::string obstacle;
    bool schedule_is_named = false;
    for (std::int64_t batch = job_.num_microbatches; batch >= 1; --batch) {
      const auto step = step_of(degree, batch, power);
      if (step && is_within(step->time, limit)) {
        return rate(batch, power, *step, std::move(obstacle));
      }
      if (obstacle.empty()) {
        obstacle = step ? fmt::format(
                              "its step with the whole batch takes {:.3f} s and a healthy "
                              "replica's {:.3f} s",
                              step->time.count(),
                              limit.count())
                        : step.error().reason;
      } else if (!step && !schedule_is_named) {  // some smaller batches are not the schedule's
        obstacle += "; " + step.error().reason;
        schedule_is_named = true;
      }
    }
    return {.power = power, .obstacle = std::move(obstacle)};
  }

  /// The least power that keeps the whole batch; the largest batch at full boost where none does.
  [[nodiscard]] DegreeRate boosted_batch(std::int64_t degree, Seconds limit) const {
    const double most = power_.boost(job_.tp, degree);
    if (!keeps_batch(degree, most, limit)) {
      return largest_batch(degree, most, limit);
    }
    double high = most;
    if (keeps_batch(degree, 1.0, limit)) {
      high = 1.0;
    }
    double low = 1.0;              // too slow, unless it is high
    constexpr int kHalvings = 20;  // to a millionth of the nominal power
    for (int i = 0; i < kHalvings && high > low; ++i) {
      const double middle = 0.5 * (low + high);
      (keeps_batch(degree, middle, limit) ? high : low) = middle;
    }
    return rate(job_.num_microbatches, high, *step_of(degree, job_.num_microbatches, high), {});
  }

 private:
  [[nodiscard]] Expected<ReplicaStep, Infeasible> step_of(std::int64_t degree,
                                                          std::int64_t batch,
                                                          double power) const {
    return replica_time_(
        {.tp_size = degree, .sync_degree = degree, .num_microbatches = batch, .power = power});
  }
  [[nodiscard]] static bool is_within(Seconds time, Seconds limit) {
    constexpr double kRounding = 1.0 + 1e-9;
    return time <= limit * kRounding;
  }
  [[nodiscard]] bool keeps_batch(std::int64_t degree, double power, Seconds limit) const {
    const auto step = step_of(degree, job_.num_microbatches, power);
    return step && is_within(step->time, limit);
  }
  [[nodiscard]] DegreeRate rate(std::int64_t batch,
                                double power,
                                const ReplicaStep& step,
                                std::string obstacle) const {
    return {.num_microbatches = batch,
            .share = static_cast<double>(batch) / static_cast<double>(job_.num_microbatches),
            .power = power,
            .num_recompute_layers = step.num_recompute_layers,
            .obstacle = std::move(obstacle)};
  }

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
      rates.healthy_slowdown[index] = beside->time / healthy->time;
      rates.reduced[index] = policy == PolicyKind::ntp_pw
                                 ? finder.boosted_batch(degree, beside->time)
                                 : finder.largest_batch(degree, 1.0, beside->time);
    } else {
      rates.reduced[index].obstacle = beside.error().reason;
    }
    if (uniform_rule(degree)) {
      const auto alone = healthy_time(degree, degree);
      rates.uniform[index] = alone ? healthy->time / alone->time : 0.0;
    }
  }
  return rates;
}

}  // namespace runflat::planner
