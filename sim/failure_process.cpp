#include "sim/failure_process.hpp"

#include "core/error.hpp"
#include "core/reader.hpp"
#include "sim/span_reader.hpp"

#include <algorithm>
#include <cstdint>
#include <fmt/format.h>

namespace runflat::sim {
namespace {

constexpr double kLargestFactor = 1e6;
constexpr double kMostRecurrence = 0.95;

}  // namespace

double BatchLaw::mean_size() const {
  double faults = 0.0;
  double batches = 0.0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    faults += weights[i] * static_cast<double>(i + 1);
    batches += weights[i];
  }
  return batches > 0.0 ? faults / batches : 1.0;
}

Days operational_time(const std::vector<RateStep>& steps, Days begin, Days end) {
  Days sum{};
  Days at = begin;
  double factor = 1.0;
  for (const RateStep& step : steps) {
    const Days until = std::clamp(step.from, at, end);
    sum += factor * (until - at);
    at = until;
    factor = step.factor;
  }
  return sum + factor * (end - at);
}

BatchLaw read_batches(const Reader& place) {
  ObjectReader in = place.object();
  BatchLaw law;
  const Reader sizes = in.at("sizes");
  double total = 0.0;
  for (const Reader& weight : sizes.items()) {
    law.weights.push_back(weight.number(0.0));
    total += law.weights.back();
  }
  if (!(total > 0.0)) {
    sizes.reject("expected a weight above 0 for 1, 2, ... faults together");
  }
  law.spread = find_span(in, "within").value_or(law.spread);
  in.finish();
  return law;
}

Recurrence read_recurrence(const Reader& place) {
  ObjectReader in = place.object();
  Recurrence result{.probability = in.at("probability").number(0.0, kMostRecurrence),
                    .delay = read_distribution(in.at("delay"))};
  in.finish();
  return result;
}

std::vector<RateStep> read_rate_over_time(const Reader& place) {
  std::vector<RateStep> steps;
  for (const Reader& item : place.items()) {
    ObjectReader in = item.object();
    const RateStep step{.from = read_span(in, "from"),
                        .factor = in.at("factor").number(0.0, kLargestFactor)};
    in.finish();
    if (!steps.empty() && step.from <= steps.back().from) {
      item.reject("expected a later time than that of the step before");
    }
    steps.push_back(step);
  }
  return steps;
}

Slowness read_slowness(const Reader& place) {
  ObjectReader in = place.object();
  Slowness slowness;
  const Reader speed = in.at("speed");
  slowness.speed = speed.number();
  if (!(slowness.speed > 0.0 && slowness.speed < 1.0)) {
    speed.fail("a number between 0 and 1");
  }
  slowness.resource = read_or(in, "resource", Resource::compute, [](const Reader& value) {
    return static_cast<Resource>(value.choice({"compute", "network", "nvlink"}));
  });
  in.finish();
  return slowness;
}

Maintenance read_maintenance(const Reader& place, const ClusterShape& shape) {
  ObjectReader in = place.object();
  Maintenance result{.name = in.at("name").text()};
  result.blast_radius =
      static_cast<BlastRadius>(in.at("blast_radius").choice({"gpu", "node", "domain"}));
  const std::int32_t num = shape.num_components(result.blast_radius);
  result.components.first =
      read_or(in, "first", 0, [&](const Reader& value) { return value.integer(0, num - 1); });
  result.components.num =
      static_cast<std::int32_t>(in.at("count").integer(1, num - result.components.first));
  result.at = read_span(in, "at");
  result.duration = read_positive_span(in, "duration");
  result.stagger = find_span(in, "stagger").value_or(Seconds::zero());
  if (const std::optional<Seconds> period = find_span(in, "every")) {
    if (*period < result.duration) {
      place.reject("expected a period no shorter than the duration");
    }
    result.period = *period;
  }
  in.finish();
  return result;
}

}  // namespace runflat::sim
