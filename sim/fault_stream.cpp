#include "sim/fault_stream.hpp"

#include "core/error.hpp"

#include <algorithm>

namespace runflat::sim {
namespace {

constexpr double kFaultsPerWindow = 4096.0;  // 128 kB of faults stay in a core's own cache

WeightedChoice draw_node_rates(const SampledTrial& trial, double rate_shape) {
  RandomStream stream = trial.stream(0, Purpose::node_rate);
  std::vector<double> rates(static_cast<std::size_t>(trial.shape.num_nodes));
  for (double& rate : rates) {
    rate = stream.gamma(rate_shape);
  }
  return WeightedChoice{rates};
}

void require_valid(const FailureClass& failure_class) {
  require(failure_class.rate_per_node_day >= 0.0, "a failure rate must be at least zero");
  require(failure_class.arrival_shape >= 0.05 && failure_class.arrival_shape <= 1000.0,
          "an arrival shape must be between 0.05 and 1000");
  require(failure_class.together >= 1, "a fault hits at least one component");
  require(failure_class.refault.probability >= 0.0 &&
              failure_class.infant_mortality.probability >= 0.0 && failure_class.recurrence() < 1.0,
          "a fault must not always recur");
}

/// Of the class in the whole cluster, per day at a factor of 1.
double faults_per_day(const SampledTrial& trial, const FailureClass& failure_class) {
  return failure_class.rate_per_node_day * trial.model.scale * trial.shape.num_nodes;
}

/// From the warm-up to the end.
double expected_faults(const SampledTrial& trial, const FailureClass& failure_class) {
  return faults_per_day(trial, failure_class) *
         operational_time(failure_class.rate_over_time, trial.span.first, trial.span.second)
             .count();
}

double largest_factor(const FailureClass& failure_class) {
  double largest = 1.0;
  for (const RateStep& step : failure_class.rate_over_time) {
    largest = std::max(largest, step.factor);
  }
  return largest;
}

}  // namespace

FaultStream::FaultStream(const FailureModel& model,
                         const ClusterShape& shape,
                         SimTime duration,
                         std::uint64_t seed,
                         std::uint32_t trial_number)
    : trial_{.model = model,
             .shape = shape,
             .span = {-model.warm_up, to_days(duration)},
             .duration = duration,
             .seed = seed,
             .number = trial_number} {
  sim::require_valid(shape);
  require(duration >= SimTime::zero(), "a timeline needs a duration of at least zero");
  double most_per_day = 0.0;
  for (const FailureClass& failure_class : model.classes) {
    require_valid(failure_class);
    num_expected_ += expected_faults(trial_, failure_class);
    most_per_day += faults_per_day(trial_, failure_class) * largest_factor(failure_class);
  }
  require(num_expected_ >= 0.0 && num_expected_ <= 1e8,
          "expected between 0 and 1e8 faults in a timeline");
  window_ = std::max(to_sim_time(Days{kFaultsPerWindow / most_per_day}), SimTime{1});
  if (model.node_rate_shape) {
    trial_.nodes = draw_node_rates(trial_, *model.node_rate_shape);
  }
  for (std::size_t i = 0; i < model.classes.size(); ++i) {
    const double per_day =
        faults_per_day(trial_, model.classes[i]) * model.classes[i].arrivals_per_fault();
    if (per_day > 0.0) {
      classes_.emplace_back(trial_, static_cast<std::uint32_t>(i), Days{1.0 / per_day});
    }
  }
  for (std::size_t i = 0; i < model.maintenance.size(); ++i) {
    maintenance_.emplace_back(
        model.maintenance[i], static_cast<std::int32_t>(model.classes.size() + i), duration);
  }
}

std::optional<FaultWindow> FaultStream::next() {
  if (end_ > trial_.duration) {
    return std::nullopt;
  }
  end_ = std::min(add_span(end_, window_), trial_.duration + SimTime{1});
  waiting_.faults.open(end_);
  waiting_.slowdowns.open(end_);
  waiting_.corruptions.open(end_);
  for (ClassSampler& failure_class : classes_) {
    failure_class.run(end_, waiting_);
  }
  for (MaintenancePlan& work : maintenance_) {
    work.run(end_, waiting_);
  }
  return FaultWindow{.end = end_,
                     .faults = waiting_.faults.close(),
                     .slowdowns = waiting_.slowdowns.close(),
                     .corruptions = waiting_.corruptions.close()};
}

}  // namespace runflat::sim
