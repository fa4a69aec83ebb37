#include "planner/what_if.hpp"

#include <string>

namespace runflat::planner {
namespace {

constexpr std::int64_t kResultSchema = 1;

Value to_value(const Summary& summary) {
  return Value::Object{
      {"mean", summary.mean}, {"p5", summary.p5}, {"p50", summary.p50}, {"p95", summary.p95}};
}

/// Null where there are too few trials for an interval.
Value half_width(const MeanInterval& interval) {
  return interval.half_width ? Value(*interval.half_width) : Value();
}

Value lost_by_cause(const PolicyResult& result) {
  Value::Object lost;
  for (std::size_t cause = 0; cause < sim::kNumCauses; ++cause) {
    if (static_cast<sim::Cause>(cause) != sim::Cause::useful) {
      lost.emplace_back(std::string(to_string(static_cast<sim::Cause>(cause))),
                        result.gpu_hours[cause]);
    }
  }
  return lost;
}

/// Only policies that reduce replicas have any; the full degree is left out.
Value reduced_replicas(const PolicyResult& result) {
  Value::Array replicas;
  if (result.policy != PolicyKind::ntp && result.policy != PolicyKind::ntp_pw) {
    return replicas;
  }
  for (std::size_t degree = result.reduced.size() - 1; degree-- > 1;) {
    const DegreeRate& rate = result.reduced[degree];
    replicas.emplace_back(Value::Object{{"tp_size", static_cast<std::int64_t>(degree)},
                                        {"num_microbatches", rate.num_microbatches},
                                        {"power", rate.power},
                                        {"num_recompute_layers", rate.num_recompute_layers},
                                        {"obstacle", rate.obstacle}});
  }
  return replicas;
}

Value to_value(const PolicyResult& result, double usd_per_gpu_hour) {
  const double useful = result.gpu_hours[static_cast<std::size_t>(sim::Cause::useful)];
  return Value::Object{
      {"policy", std::string(to_string(result.policy))},
      {"goodput", to_value(result.goodput)},
      {"goodput_ci95_half_width", half_width(result.goodput_interval)},
      {"availability", to_value(result.availability)},
      {"lost_gpu_hours", lost_by_cause(result)},
      {"gpu_hours", Value::Object{{"total", result.owned_gpu_hours}, {"useful", useful}}},
      {"spare_domains", result.spare_domains},
      {"spares_for_99pct", result.spares_for_99pct},
      {"full_batch_share", Value::array_of(result.full_batch_share)},
      {"peak_spares", to_value(result.peak_spares)},
      {"step_time_s", result.step_time.count()},
      {"checkpoint_interval_s", result.checkpoint_interval.count()},
      {"reduced_replicas", reduced_replicas(result)},
      {"interruptions", result.num_interruptions},
      {"rejoins", result.num_rejoins},
      {"cost",
       Value::Object{{"usd_total", result.owned_gpu_hours * usd_per_gpu_hour},
                     {"usd_lost", result.lost_gpu_hours() * usd_per_gpu_hour}}}};
}

Value to_value(const PolicyDifference& difference) {
  return Value::Object{{"policy", std::string(to_string(difference.policy))},
                       {"minus", std::string(to_string(difference.other))},
                       {"goodput", difference.goodput.mean},
                       {"goodput_ci95_half_width", half_width(difference.goodput)}};
}

/// Null without a stop rule.
Value stopping(const WhatIfResult& result) {
  if (!result.stop) {
    return {};
  }
  return Value::Object{{"ci95_half_width", result.stop->half_width},
                       {"max_trials", result.stop->max_trials},
                       {"reached", result.is_precise}};
}

/// The middle of every bucket, in days.
Value bucket_days(const WhatIfResult& result) {
  Value::Array days;
  const std::size_t num = result.policies.empty() ? 0 : result.policies[0].goodput_by_bucket.size();
  for (std::size_t bucket = 0; bucket < num; ++bucket) {
    days.emplace_back(result.duration.count() * (static_cast<double>(bucket) + 0.5) /
                      static_cast<double>(num));
  }
  return days;
}

}  // namespace

Value to_value(const WhatIfResult& result) {
  Value::Array policies;
  Value::Object goodput;
  Value::Object loss;
  Value::Array differences;
  for (const PolicyDifference& difference : result.differences) {
    differences.push_back(to_value(difference));
  }
  for (const PolicyResult& policy : result.policies) {
    const std::string name(to_string(policy.policy));
    policies.push_back(to_value(policy, result.usd_per_gpu_hour));
    goodput.emplace_back(name, Value::array_of(policy.goodput_by_bucket));
    loss.emplace_back(name, Value::array_of(policy.loss_by_failed_fraction));
  }
  return Value::Object{
      {"schema", kResultSchema},
      {"scenario", result.scenario},
      {"description", result.description},
      {"seed", static_cast<std::int64_t>(result.seed)},
      {"trials", result.num_trials},
      {"stopping", stopping(result)},
      {"num_gpus", result.num_gpus},
      {"domain_size", result.domain_size},
      {"duration_days", result.duration.count()},
      {"usd_per_gpu_hour", result.usd_per_gpu_hour},
      {"faults_per_trial", result.faults_per_trial},
      {"nodes_down",
       Value::Object{{"mean", result.mean_nodes_down}, {"p99", result.p99_nodes_down}}},
      {"policies", std::move(policies)},
      {"differences", std::move(differences)},
      {"goodput_over_time",
       Value::Object{{"days", bucket_days(result)}, {"policies", std::move(goodput)}}},
      {"loss_vs_failed_fraction",
       Value::Object{{"failed_fraction", Value::array_of(result.failed_fractions)},
                     {"domain_availability", Value::array_of(result.domain_availability)},
                     {"policies", std::move(loss)}}}};
}

}  // namespace runflat::planner
