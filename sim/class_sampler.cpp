#include "sim/class_sampler.hpp"

#include <algorithm>
#include <chrono>
#include <limits>

namespace runflat::sim {
namespace {

std::chrono::duration<std::int32_t> whole_seconds(Seconds span) {
  constexpr double kMost = std::numeric_limits<std::int32_t>::max();
  return std::chrono::duration<std::int32_t>{
      static_cast<std::int32_t>(std::min(span.count(), kMost))};
}

}  // namespace

ClassSampler::ClassSampler(const SampledTrial& trial, std::uint32_t class_index, Days mean_gap)
    : trial_(trial),
      class_(trial.model.classes[class_index]),
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
      drains_(trial.stream(class_index, Purpose::drain)),
      mean_gap_(mean_gap),
      renewal_(class_.arrival_shape),
      clock_(class_.rate_over_time),
      next_(clock_.advance(trial.span.first, mean_gap * renewal_.first(arrivals_))) {
  prototype_.class_index = static_cast<std::int32_t>(class_index);
  prototype_.blast_radius = class_.blast_radius;
  prototype_.detection = class_.detection;
  if (class_.batches.weights.size() > 1) {
    batch_sizes_.emplace(class_.batches.weights);
  }
}

void ClassSampler::run(SimTime end, WaitingFaults& out) {
  while (next_ < trial_.span.second) {
    const SimTime time = to_sim_time(next_);
    if (time >= end) {
      break;
    }
    const std::int32_t component = draw_component(targets_);
    add(time, component, repairs_, out);
    if (batch_sizes_) {
      add_rest_of_batch(time, component, out);
    }
    next_ = clock_.advance(next_, mean_gap_ * renewal_.next(arrivals_));
  }
}

std::int32_t ClassSampler::draw_component(RandomStream& stream) const {
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
std::int32_t ClassSampler::draw_other_component(const std::vector<std::int32_t>& taken) {
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

void ClassSampler::add_rest_of_batch(SimTime first, std::int32_t component, WaitingFaults& out) {
  std::vector<std::int32_t> taken{component};
  for (std::uint32_t rest = batch_sizes_->draw(batches_); rest > 0; --rest) {
    const SimTime time = first + to_sim_time(class_.batches.spread * batches_.uniform());
    taken.push_back(draw_other_component(taken));
    add(time, taken.back(), batch_repairs_, out);
  }
}

/// A fault that is not the consequence of another one, and those that follow from it.
void ClassSampler::add(SimTime time,
                       std::int32_t component,
                       RandomStream& repairs,
                       WaitingFaults& out) {
  Fault fault = prototype_;
  fault.component = component;
  complete(fault, time, repairs, silences_);
  push(fault, out);
  if (class_.recurrence() > 0.0) {
    const std::uint64_t seed = recurrences_.bits64();
    RandomStream stream{seed, {}};
    while (fault.end < trial_.duration && recur(fault, stream)) {
      push(fault, out);
    }
  }
}

void ClassSampler::complete(Fault& fault,
                            SimTime time,
                            RandomStream& repairs,
                            RandomStream& silences) const {
  fault.silent_for = whole_seconds(class_.silence.sample(silences));
  fault.begin = add_span(time, fault.silent_for);
  fault.end = add_span(fault.begin, to_sim_time(class_.repair.sample(repairs)));
}

/// Turns a repaired fault into the next one of the same component, if there is one.
bool ClassSampler::recur(Fault& fault, RandomStream& stream) const {
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

void ClassSampler::push(const Fault& fault, WaitingFaults& out) {
  const bool seen = fault.begin >= SimTime::zero() || fault.end > SimTime::zero();
  if (seen && fault.begin <= trial_.duration) {
    if (class_.together == 1) {
      push_one(fault, out);
    } else {
      push_group(fault, out);
    }
  }
  if (class_.drain) {
    push_drain(fault, out);
  }
}

/// Where `component` counts groups.
void ClassSampler::push_group(Fault fault, WaitingFaults& out) const {
  const std::int32_t first = fault.component * class_.together;
  const std::int32_t last = std::min(first + class_.together, num_hit_);
  for (fault.component = first; fault.component < last; ++fault.component) {
    push_one(fault, out);
  }
}

void ClassSampler::push_one(const Fault& fault, WaitingFaults& out) const {
  if (class_.slow) {
    out.slowdowns.add({.begin = fault.begin,
                       .end = fault.end,
                       .component = fault.component,
                       .class_index = fault.class_index,
                       .blast_radius = fault.blast_radius,
                       .resource = class_.slow->resource,
                       .speed = class_.slow->speed});
    return;
  }
  out.faults.add(fault);
  if (fault.silent_for.count() > 0) {
    out.corruptions.add({fault.begin - fault.silent_for, fault.component, fault.blast_radius});
  }
}

/// The end of the repair, of the node or domain around the (first) component.
void ClassSampler::push_drain(Fault fault, WaitingFaults& out) {
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
    out.faults.add(fault);
  }
}

}  // namespace runflat::sim
