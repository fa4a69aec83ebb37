#include "sim/fault_sampler.hpp"

#include "core/error.hpp"
#include "sim/portable_math.hpp"
#include "sim/random.hpp"
#include "sim/weighted_choice.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
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

SimTime add_span(SimTime time, SimTime span) {
  return time > kNever - span ? kNever : time + span;
}

std::chrono::duration<std::int32_t> whole_seconds(Seconds span) {
  constexpr double kMost = std::numeric_limits<std::int32_t>::max();
  return std::chrono::duration<std::int32_t>{
      static_cast<std::int32_t>(std::min(span.count(), kMost))};
}

/// Takes arrivals through time at a rate that steps.
class ArrivalClock {
 public:
  explicit ArrivalClock(const std::vector<RateStep>& steps) : steps_(steps) {}

  /// The time when `gap` of operational time has passed since `at`, which never goes back.
  [[nodiscard]] Days advance(Days at, Days gap) {
    while (next_ < steps_.size()) {
      const RateStep& step = steps_[next_];
      const Days passed = factor_ * (step.from - at);
      if (step.from > at && gap < passed) {
        break;
      }
      if (step.from > at) {
        gap -= passed;
        at = step.from;
      }
      factor_ = step.factor;
      ++next_;
    }
    return factor_ == 1.0 ? at + gap : at + gap / factor_;  // never at a factor of 0
  }

 private:
  const std::vector<RateStep>& steps_;
  std::size_t next_ = 0;
  double factor_ = 1.0;
};

/// What all classes of one trial share.
struct Trial {
  const FailureModel& model;
  const ClusterShape& shape;
  std::pair<Days, Days> span;
  SimTime duration;
  std::uint64_t seed;
  std::uint32_t trial;
  std::optional<WeightedChoice> nodes;  ///< by rate multiplier; none: all alike

  [[nodiscard]] RandomStream stream(std::uint32_t source, Purpose purpose) const {
    return {seed, {trial, source, purpose}};
  }
};

WeightedChoice draw_node_rates(const Trial& trial, double rate_shape) {
  RandomStream stream = trial.stream(0, Purpose::node_rate);
  std::vector<double> rates(static_cast<std::size_t>(trial.shape.num_nodes));
  for (double& rate : rates) {
    rate = stream.gamma(rate_shape);
  }
  return WeightedChoice{rates};
}

/// The faults of one class. Every purpose draws from a stream of its own, and what follows from one
/// fault draws from a stream that one number of that fault seeds, so that switching a process on or
/// prolonging the trial leaves the other numbers as they were.
class ClassSampler {
 public:
  /// `faults` takes the class's own, `drained` what their repair takes down beside.
  ClassSampler(const Trial& trial,
               std::uint32_t class_index,
               std::vector<Fault>& faults,
               std::vector<Fault>& drained)
      : trial_(trial),
        class_(trial.model.classes[class_index]),
        faults_(faults),
        drained_(drained),
        num_hit_(trial.shape.num_components(class_.blast_radius)),
        num_components_(
            static_cast<std::uint32_t>((num_hit_ + class_.together - 1) / class_.together)),
        arrivals_(trial.stream(class_index, Purpose::arrival)),
        targets_(trial.stream(class_index, Purpose::target)),
        repairs_(trial.stream(class_index, Purpose::repair)),
        batches_(trial.stream(class_index, Purpose::batch)),
        batch_repairs_(trial.stream(class_index, Purpose::batch_repair)),
        recurrences_(trial.stream(class_index, Purpose::recurrence)),
        silences_(trial.stream(class_index, Purpose::silence)),
        drains_(trial.stream(class_index, Purpose::drain)) {
    prototype_.class_index = static_cast<std::int32_t>(class_index);
    prototype_.blast_radius = class_.blast_radius;
    prototype_.detection = class_.detection;
    if (class_.batches.weights.size() > 1) {
      batch_sizes_.emplace(class_.batches.weights);
    }
  }

  void run(Days mean_gap) {
    const UnitRenewal renewal{class_.arrival_shape};
    ArrivalClock clock{class_.rate_over_time};
    for (Days at = clock.advance(trial_.span.first, mean_gap * renewal.first(arrivals_));
         at < trial_.span.second;
         at = clock.advance(at, mean_gap * renewal.next(arrivals_))) {
      const SimTime time = to_sim_time(at);
      const std::int32_t component = draw_component(targets_);
      add(time, component, repairs_);
      if (batch_sizes_) {
        add_rest_of_batch(time, component);
      }
    }
  }

 private:
  [[nodiscard]] std::int32_t draw_component(RandomStream& stream) const {
    const bool of_node =
        class_.blast_radius == BlastRadius::gpu || class_.blast_radius == BlastRadius::node;
    if (!trial_.nodes || !of_node || class_.together > 1) {
      return static_cast<std::int32_t>(stream.below(num_components_));
    }
    const auto node = static_cast<std::int32_t>(trial_.nodes->draw(stream));
    if (class_.blast_radius == BlastRadius::node) {
      return node;
    }
    const auto gpus = static_cast<std::uint32_t>(trial_.shape.gpus_per_node);
    return node * trial_.shape.gpus_per_node + static_cast<std::int32_t>(stream.below(gpus));
  }

  /// One that is not among `taken`, unless there is none or a hundred draws find none.
  [[nodiscard]] std::int32_t draw_other_component(const std::vector<std::int32_t>& taken) {
    constexpr int kDraws = 100;
    std::int32_t component = draw_component(batches_);
    for (int i = 1; i < kDraws && taken.size() < num_components_; ++i) {
      if (std::find(taken.begin(), taken.end(), component) == taken.end()) {
        break;
      }
      component = draw_component(batches_);
    }
    return component;
  }

  void add_rest_of_batch(SimTime first, std::int32_t component) {
    std::vector<std::int32_t> taken{component};
    for (std::uint32_t rest = batch_sizes_->draw(batches_); rest > 0; --rest) {
      const SimTime time = first + to_sim_time(class_.batches.spread * batches_.uniform());
      taken.push_back(draw_other_component(taken));
      add(time, taken.back(), batch_repairs_);
    }
  }

  /// A fault that is not the consequence of another one, and those that follow from it.
  void add(SimTime time, std::int32_t component, RandomStream& repairs) {
    Fault fault = prototype_;
    fault.component = component;
    complete(fault, time, repairs, silences_);
    push(fault);
    if (class_.recurrence() > 0.0) {
      const std::uint64_t seed = recurrences_.bits64();
      RandomStream stream{seed, {}};
      while (fault.end < trial_.duration && recur(fault, stream)) {
        push(fault);
      }
    }
  }

  void complete(Fault& fault, SimTime time, RandomStream& repairs, RandomStream& silences) const {
    fault.silent_for = whole_seconds(class_.silence.sample(silences));
    fault.begin = add_span(time, fault.silent_for);
    fault.end = add_span(fault.begin, to_sim_time(class_.repair.sample(repairs)));
  }

  /// Turns a repaired fault into the next one of the same component, if there is one.
  [[nodiscard]] bool recur(Fault& fault, RandomStream& stream) const {
    const double u = stream.uniform();
    if (u >= class_.recurrence()) {
      return false;
    }
    const Recurrence& cause =
        u < class_.refault.probability ? class_.refault : class_.infant_mortality;
    const SimTime time = add_span(fault.end, to_sim_time(cause.delay.sample(stream)));
    complete(fault, time, stream, stream);
    return true;
  }

  void push(const Fault& fault) {
    const bool seen = fault.begin >= SimTime::zero() || fault.end > SimTime::zero();
    if (seen && fault.begin <= trial_.duration) {
      if (class_.together == 1) {
        faults_.push_back(fault);
      } else {
        push_group(fault);
      }
    }
    if (class_.drain) {
      push_drain(fault);
    }
  }

  /// Where `component` counts groups.
  void push_group(Fault fault) {
    const std::int32_t first = fault.component * class_.together;
    const std::int32_t last = std::min(first + class_.together, num_hit_);
    for (fault.component = first; fault.component < last; ++fault.component) {
      faults_.push_back(fault);
    }
  }

  /// The end of the repair, of the node or domain around the (first) component.
  void push_drain(Fault fault) {
    const SimTime duration = to_sim_time(class_.drain->duration.sample(drains_));
    fault.component *= class_.together;
    fault.component = components_hit(fault, trial_.shape, class_.drain->blast_radius).first;
    fault.blast_radius = class_.drain->blast_radius;
    fault.detection = Detection::planned;
    fault.silent_for = {};
    if (fault.end == kNever || duration <= SimTime::zero()) {
      return;
    }
    fault.begin = std::max(fault.begin, fault.end - duration);
    if (fault.end > SimTime::zero() && fault.begin < trial_.duration) {
      drained_.push_back(fault);
    }
  }

  const Trial& trial_;
  const FailureClass& class_;
  std::vector<Fault>& faults_;
  std::vector<Fault>& drained_;
  std::int32_t num_hit_;
  std::uint32_t num_components_;  // groups of `together`
  RandomStream arrivals_;
  RandomStream targets_;
  RandomStream repairs_;
  RandomStream batches_;
  RandomStream batch_repairs_;
  RandomStream recurrences_;
  RandomStream silences_;
  RandomStream drains_;
  Fault prototype_;
  std::optional<WeightedChoice> batch_sizes_;
};

void append_slowdowns(std::vector<Slowdown>& slowdowns,
                      const std::vector<Fault>& spans,
                      const Slowness& slowness) {
  for (const Fault& span : spans) {
    slowdowns.push_back({.begin = span.begin,
                         .end = span.end,
                         .component = span.component,
                         .class_index = span.class_index,
                         .blast_radius = span.blast_radius,
                         .resource = slowness.resource,
                         .speed = slowness.speed});
  }
}

void append_maintenance(std::vector<Fault>& faults,
                        const Maintenance& work,
                        std::size_t class_index,
                        SimTime duration) {
  const SimTime span = to_sim_time(work.duration);
  const SimTime period = work.period ? to_sim_time(*work.period) : kNever;
  require(span > SimTime::zero() && period >= span && work.stagger >= Seconds::zero() &&
              work.at >= Days::zero() && work.components.num >= 0,
          "maintenance takes time, begins on day 0 or later, and has a period longer than itself");
  for (std::int32_t i = 0; i < work.components.num; ++i) {
    SimTime begin = to_sim_time(work.at + i * work.stagger);
    while (begin < duration) {
      faults.push_back({.begin = begin,
                        .end = add_span(begin, span),
                        .component = work.components.first + i,
                        .class_index = static_cast<std::int32_t>(class_index),
                        .blast_radius = work.blast_radius,
                        .detection = Detection::planned});
      begin = add_span(begin, period);
    }
  }
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

/// Of the class in the whole cluster, from the warm-up to the end.
double expected_faults(const Trial& trial, const FailureClass& failure_class) {
  const Days time =
      operational_time(failure_class.rate_over_time, trial.span.first, trial.span.second);
  return failure_class.rate_per_node_day * trial.model.scale * trial.shape.num_nodes * time.count();
}

}  // namespace

FaultTimeline sample_faults(const FailureModel& model,
                            const ClusterShape& shape,
                            SimTime duration,
                            std::uint64_t seed,
                            std::uint32_t trial_number) {
  require_valid(shape);
  Trial trial{.model = model,
              .shape = shape,
              .span = {-model.warm_up, to_days(duration)},
              .duration = duration,
              .seed = seed,
              .trial = trial_number,
              .nodes = std::nullopt};
  double expected = 0.0;
  for (const FailureClass& failure_class : model.classes) {
    require_valid(failure_class);
    expected += expected_faults(trial, failure_class);
  }
  require(expected >= 0.0 && expected <= 1e8, "expected between 0 and 1e8 faults in a timeline");
  if (model.node_rate_shape) {
    trial.nodes = draw_node_rates(trial, *model.node_rate_shape);
  }
  std::vector<Fault> faults;
  std::vector<Slowdown> slowdowns;
  faults.reserve(static_cast<std::size_t>(expected + 4.0 * std::sqrt(expected)) + 8);
  for (std::size_t i = 0; i < model.classes.size(); ++i) {
    const FailureClass& failure_class = model.classes[i];
    const double per_day = failure_class.rate_per_node_day * model.scale * shape.num_nodes *
                           failure_class.arrivals_per_fault();
    if (per_day == 0.0) {
      continue;
    }
    std::vector<Fault> slow_spans;
    std::vector<Fault>& target = failure_class.slow ? slow_spans : faults;
    ClassSampler{trial, static_cast<std::uint32_t>(i), target, faults}.run(Days{1.0 / per_day});
    if (failure_class.slow) {
      append_slowdowns(slowdowns, slow_spans, *failure_class.slow);
    }
  }
  for (std::size_t i = 0; i < model.maintenance.size(); ++i) {
    append_maintenance(faults, model.maintenance[i], model.classes.size() + i, duration);
  }
  return make_fault_timeline(shape, duration, std::move(faults), std::move(slowdowns));
}

}  // namespace runflat::sim
