#include "sim/fault_sampler.hpp"

#include "core/error.hpp"
#include "sim/portable_math.hpp"
#include "sim/random.hpp"

#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

namespace runflat::sim {
namespace {

/// The gaps of an equilibrium Weibull renewal process with mean gap 1.
class UnitRenewal {
 public:
  explicit UnitRenewal(double shape)
      : shape_(shape), scale_(1.0 / portable_gamma(1.0 + 1.0 / shape)) {}

  /// From the start to the first arrival: a uniform part of a length-biased gap, and the length-
  /// biased Weibull is scale x Gamma(1 + 1/k)^(1/k).
  [[nodiscard]] double first(RandomStream& stream) const {
    if (shape_ == 1.0) {
      return stream.exponential();
    }
    const double length = power(stream.gamma(1.0 + 1.0 / shape_));
    return stream.uniform() * length;
  }

  [[nodiscard]] double next(RandomStream& stream) const {
    const double x = stream.exponential();
    return shape_ == 1.0 ? x : power(x);
  }

 private:
  [[nodiscard]] double power(double x) const {
    return scale_ * portable_exp(portable_log(x) / shape_);
  }

  double shape_;
  double scale_;
};

SimTime add(SimTime time, SimTime span) {
  return time > kNever - span ? kNever : time + span;
}

struct ClassStreams {
  RandomStream arrivals;
  RandomStream targets;
  RandomStream repairs;

  ClassStreams(std::uint64_t seed, std::uint32_t trial, std::uint32_t class_index)
      : arrivals(seed, {trial, class_index, Purpose::arrival}),
        targets(seed, {trial, class_index, Purpose::target}),
        repairs(seed, {trial, class_index, Purpose::repair}) {}
};

void append_faults(std::vector<Fault>& faults,
                   const FailureClass& failure_class,
                   Fault fault,
                   std::uint32_t num_components,
                   Days mean_gap,
                   std::pair<Days, Days> span,
                   ClassStreams streams) {
  const UnitRenewal renewal{failure_class.arrival_shape};
  for (Days at = span.first + mean_gap * renewal.first(streams.arrivals); at < span.second;
       at += mean_gap * renewal.next(streams.arrivals)) {
    fault.begin = to_sim_time(at);
    fault.end = add(fault.begin, to_sim_time(failure_class.repair.sample(streams.repairs)));
    fault.component = static_cast<std::int32_t>(streams.targets.below(num_components));
    if (at >= Days::zero() || fault.end > SimTime::zero()) {
      faults.push_back(fault);
    }
  }
}

}  // namespace

FaultTimeline sample_faults(const FailureModel& model,
                            const ClusterShape& shape,
                            SimTime duration,
                            std::uint64_t seed,
                            std::uint32_t trial) {
  require_valid(shape);
  const std::pair<Days, Days> span{-model.warm_up, to_days(duration)};
  const double expected =
      model.rate_per_node_day() * shape.num_nodes * (span.second - span.first).count();
  require(expected >= 0.0 && expected <= 1e8, "expected between 0 and 1e8 faults in a timeline");
  std::vector<Fault> faults;
  faults.reserve(static_cast<std::size_t>(expected + 4.0 * std::sqrt(expected)) + 8);
  for (std::size_t i = 0; i < model.classes.size(); ++i) {
    const FailureClass& failure_class = model.classes[i];
    const double per_day = failure_class.rate_per_node_day * model.scale * shape.num_nodes;
    require(per_day >= 0.0, "a failure rate must be at least zero");
    require(failure_class.arrival_shape >= 0.05 && failure_class.arrival_shape <= 1000.0,
            "an arrival shape must be between 0.05 and 1000");
    if (per_day == 0.0) {
      continue;
    }
    const Fault prototype{.class_index = static_cast<std::int32_t>(i),
                          .blast_radius = failure_class.blast_radius,
                          .detection = failure_class.detection};
    append_faults(faults,
                  failure_class,
                  prototype,
                  static_cast<std::uint32_t>(shape.num_components(failure_class.blast_radius)),
                  Days{1.0 / per_day},
                  span,
                  ClassStreams{seed, trial, static_cast<std::uint32_t>(i)});
  }
  return make_fault_timeline(shape, duration, std::move(faults));
}

}  // namespace runflat::sim
