#include "sim/failure_fit.hpp"

#include "core/error.hpp"
#include "sim/fault_sampler.hpp"
#include "sim/refault_split.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fmt/format.h>
#include <limits>
#include <map>
#include <optional>
#include <utility>

namespace runflat::sim {
namespace {

constexpr Seconds kShortestRepair{36.0};
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// The classes of the fitted model and which of them each fault belongs to.
struct Grouping {
  std::vector<FailureClass> classes;  // name, radius and detection only
  std::vector<std::size_t> of_fault;
};

Grouping group_faults(const FaultTrace& trace, std::size_t least_faults) {
  using Key = std::pair<std::int32_t, BlastRadius>;
  std::map<Key, std::size_t> counts;
  for (const Fault& fault : trace.faults) {
    ++counts[{fault.class_index, fault.blast_radius}];
  }
  constexpr std::int32_t kPooled = std::numeric_limits<std::int32_t>::max();
  Grouping groups;
  std::map<Key, std::size_t> indices;
  for (const Fault& fault : trace.faults) {
    const bool is_rare = counts[{fault.class_index, fault.blast_radius}] < least_faults;
    const Key key{is_rare ? kPooled : fault.class_index, fault.blast_radius};
    const auto [found, is_new] = indices.try_emplace(key, groups.classes.size());
    if (is_new) {
      const std::string name =
          is_rare ? "other" : trace.class_names.at(static_cast<std::size_t>(fault.class_index));
      groups.classes.push_back({.name = name, .blast_radius = fault.blast_radius});
    }
    groups.of_fault.push_back(found->second);
  }
  for (std::size_t i = 0; i < groups.classes.size(); ++i) {  // one class may have several radii
    for (std::size_t j = 0; j < i; ++j) {
      if (groups.classes[j].name == groups.classes[i].name) {
        groups.classes[i].name += fmt::format(" ({})", to_string(groups.classes[i].blast_radius));
        break;
      }
    }
  }
  return groups;
}

/// Whether each fault has neighbours of its class in a batch.
std::vector<bool> find_batches(const FaultTrace& trace, const Grouping& groups, SimTime gap) {
  std::vector<std::vector<std::size_t>> members(groups.classes.size());
  for (std::size_t i = 0; i < trace.faults.size(); ++i) {
    members[groups.of_fault[i]].push_back(i);
  }
  std::vector<bool> in_batch(trace.faults.size());
  for (const std::vector<std::size_t>& faults : members) {
    std::vector<SimTime> times;
    for (const std::size_t i : faults) {
      times.push_back(trace.faults[i].begin);
    }
    std::size_t first = 0;
    for (const std::size_t length : run_lengths(times, gap)) {
      for (std::size_t i = first; i < first + length; ++i) {
        in_batch[faults[i]] = length > 1;
      }
      first += length;
    }
  }
  return in_batch;
}

/// What the numbers of one class come from.
struct ClassData {
  std::vector<SimTime> arrivals;  // of batches, in order
  BatchLaw batches;
  std::vector<Seconds> repairs;
  double num_faults = 0.0;
};

std::vector<ClassData> collect(const FaultTrace& trace,
                               const Grouping& groups,
                               const RefaultSplit& split,
                               const std::vector<bool>& in_batch,
                               SimTime gap) {
  std::vector<ClassData> data(groups.classes.size());
  std::vector<SimTime> last(groups.classes.size(), -kNever);
  std::vector<std::size_t> size(groups.classes.size(), 0);
  for (std::size_t i = 0; i < trace.faults.size(); ++i) {
    const Fault& fault = trace.faults[i];
    const std::size_t group = groups.of_fault[i];
    ClassData& of_class = data[group];
    ++of_class.num_faults;
    if (fault.end != kNever) {
      of_class.repairs.push_back(std::max(to_seconds(fault.end - fault.begin), kShortestRepair));
    }
    std::vector<double>& weights = of_class.batches.weights;
    if (!in_batch[i]) {
      weights.resize(std::max<std::size_t>(weights.size(), 1));
      weights[0] += 1.0 - split.probability[i];
      if (split.probability[i] < 0.5) {
        of_class.arrivals.push_back(fault.begin);
      }
      continue;
    }
    const bool goes_on = size[group] > 0 && fault.begin <= last[group] + gap;
    if (goes_on) {
      weights[size[group] - 1] -= 1.0;
    } else {
      size[group] = 0;
      of_class.arrivals.push_back(fault.begin);
    }
    ++size[group];
    weights.resize(std::max(weights.size(), size[group]));
    weights[size[group] - 1] += 1.0;
    last[group] = fault.begin;
  }
  return data;
}

std::vector<double> unit_gaps(const std::vector<SimTime>& arrivals) {
  std::vector<double> gaps;
  for (std::size_t i = 1; i < arrivals.size(); ++i) {
    gaps.push_back(to_days(arrivals[i] - arrivals[i - 1]).count());
  }
  std::erase(gaps, 0.0);
  return gaps;
}

/// A fitted model with the numbers that bootstraps compare.
struct PointFit {
  FailureModel model;
  std::vector<std::vector<LawFit>> repairs;
  std::vector<NamedNumber> parameters;
  std::vector<bool> is_probability;  // by parameter
  std::vector<NamedNumber> distances;

  void add(std::string name, double value, bool probability = false) {
    parameters.push_back({std::move(name), value});
    is_probability.push_back(probability);
  }
};

double gap_distance(const std::vector<double>& gaps, double shape) {
  double powers = 0.0;
  for (const double gap : gaps) {
    powers += std::pow(gap, shape);
  }
  const double scale = std::pow(powers / static_cast<double>(gaps.size()), 1.0 / shape);
  return kolmogorov_smirnov(gaps,
                            [&](double x) { return -std::expm1(-std::pow(x / scale, shape)); });
}

/// Rate, arrivals, batches and repairs of one class. `kind` is the repair law; none: the best.
void fit_class(PointFit& fit,
               FailureClass failure_class,
               ClassData data,
               double node_days,
               std::optional<LawKind> kind) {
  const std::string prefix = failure_class.name + ": ";
  failure_class.rate_per_node_day = data.num_faults / node_days;
  fit.add(prefix + "rate_per_1000_node_days", 1000.0 * failure_class.rate_per_node_day);
  const std::vector<double> gaps = unit_gaps(data.arrivals);
  constexpr std::size_t kLeastGaps = 5;
  if (gaps.size() >= kLeastGaps) {
    failure_class.arrival_shape = std::clamp(fit_weibull_shape(gaps), 0.1, 100.0);
  }
  fit.add(prefix + "arrival_shape", gaps.size() >= kLeastGaps ? failure_class.arrival_shape : kNan);
  fit.distances.push_back(
      {prefix + "gaps",
       gaps.size() >= kLeastGaps ? gap_distance(gaps, failure_class.arrival_shape) : kNan});
  if (data.batches.weights.size() > 1) {
    failure_class.batches = std::move(data.batches);
  }
  fit.add(prefix + "mean_batch", failure_class.batches.mean_size());
  std::vector<LawFit> laws;
  if (data.repairs.size() >= 2) {
    laws = kind ? std::vector{fit_law(*kind, data.repairs)} : fit_laws(data.repairs);
    failure_class.repair = laws.front().law;
    for (const NamedNumber& parameter : laws.front().parameters) {
      fit.add(
          prefix + "repair." + parameter.name, parameter.value, parameter.name == "weight_fast");
    }
  }
  fit.distances.push_back(
      {prefix + "repair", laws.empty() ? kNan : laws.front().kolmogorov_smirnov});
  fit.repairs.push_back(std::move(laws));
  fit.model.classes.push_back(std::move(failure_class));
}

/// `best`, where present, is the fit whose repair laws are taken.
PointFit fit_point(const FaultTrace& trace,
                   const Grouping& groups,
                   const ClusterShape& shape,
                   const FitOptions& options,
                   const PointFit* best) {
  const SimTime gap = to_sim_time(options.batch_gap);
  const std::vector<bool> in_batch = find_batches(trace, groups, gap);
  const RefaultSplit split =
      split_refaults(trace.faults, shape, in_batch, options.observed, options.refault_horizon);
  std::vector<ClassData> data = collect(trace, groups, split, in_batch, gap);
  PointFit fit;
  fit.model.node_rate_shape = split.fit.node_size;
  fit.add("node_rate_shape", split.fit.node_size.value_or(std::numeric_limits<double>::infinity()));
  constexpr double kMostRefaults = 0.95;
  const Recurrence refault{
      .probability = std::min(split.fit.probability, kMostRefaults),
      .delay = Distribution::lognormal(Days{std::exp(split.fit.log_median)}, split.fit.sigma)};
  fit.add("refault.probability", refault.probability, true);
  fit.add("refault.median_hours", 24.0 * std::exp(split.fit.log_median));
  fit.add("refault.sigma", split.fit.sigma);
  for (std::size_t i = 0; i < data.size(); ++i) {
    FailureClass failure_class = groups.classes[i];
    if (refault.probability > 0.0) {
      failure_class.refault = refault;
    }
    failure_class.batches.spread = options.batch_gap;
    data[i].batches.spread = options.batch_gap;
    const bool has_law = best != nullptr && !best->repairs[i].empty();
    fit_class(fit,
              std::move(failure_class),
              std::move(data[i]),
              shape.num_nodes * options.observed.count(),
              has_law ? std::optional(best->repairs[i].front().kind) : std::nullopt);
  }
  return fit;
}

FaultTrace sample_trace(const FailureModel& model,
                        const ClusterShape& shape,
                        const FitOptions& options,
                        std::uint32_t replica) {
  FaultTimeline timeline =
      sample_faults(model, shape, to_sim_time(options.observed), options.seed, replica);
  return {.faults = std::move(timeline.faults), .class_names = model.class_names()};
}

Grouping grouping_of(const FailureModel& model, const FaultTrace& trace) {
  Grouping groups{.classes = {}, .of_fault = {}};
  for (const FailureClass& failure_class : model.classes) {
    groups.classes.push_back(
        {.name = failure_class.name, .blast_radius = failure_class.blast_radius});
  }
  for (const Fault& fault : trace.faults) {
    groups.of_fault.push_back(static_cast<std::size_t>(fault.class_index));
  }
  return groups;
}

/// Where ratios of estimates add up.
double spread_out(double value, bool is_probability) {
  return is_probability ? std::log(value / (1.0 - value)) : std::log(value);
}
double gather(double value, bool is_probability) {
  return is_probability ? 1.0 / (1.0 + std::exp(-value)) : std::exp(value);
}

/// Normal on the spread-out scale, with the bias of the replicas taken off. `replicas` are the same
/// parameter in every bootstrap sample.
FittedNumber with_interval(const NamedNumber& parameter,
                           bool is_probability,
                           const std::vector<double>& replicas) {
  FittedNumber result{parameter.name, parameter.value, kNan, kNan};
  const double centre = spread_out(parameter.value, is_probability);
  double num = 0.0;
  double num_at_most = 0.0;  // probability 1, or infinity
  double sum = 0.0;
  double squares = 0.0;
  for (const double replica : replicas) {
    const double error = spread_out(replica, is_probability) - centre;
    num_at_most += error == INFINITY ? 1.0 : 0.0;
    if (std::isfinite(error)) {
      num += 1.0;
      sum += error;
      squares += error * error;
    }
  }
  constexpr double kLeastReplicas = 20.0;
  if (num < kLeastReplicas) {
    return result;
  }
  constexpr double kTail = 0.025;
  constexpr double kDeviations = 1.96;
  const double bias = sum / num;
  const double margin = kDeviations * std::sqrt(std::max(squares / num - bias * bias, 0.0));
  const bool unbounded = num_at_most > kTail * static_cast<double>(replicas.size());
  result.low = gather(centre - bias - margin, is_probability);
  result.high = gather(unbounded ? INFINITY : centre - bias + margin, is_probability);
  return result;
}

FitQuality with_p_value(const NamedNumber& distance, const std::vector<double>& replicas) {
  double num = 0.0;
  double farther = 0.0;
  for (const double replica : replicas) {
    num += std::isnan(replica) ? 0.0 : 1.0;
    farther += replica >= distance.value ? 1.0 : 0.0;
  }
  return {distance.name, distance.value, num > 0.0 ? (farther + 1.0) / (num + 1.0) : kNan};
}

Days last_instant(const FaultTrace& trace) {
  SimTime last = to_sim_time(kShortestRecord);
  for (const Fault& fault : trace.faults) {
    last = std::max({last, fault.begin, fault.end == kNever ? fault.begin : fault.end});
  }
  return to_days(last);
}

}  // namespace

FailureFit fit_failures(const FaultTrace& trace,
                        const ClusterShape& shape,
                        const FitOptions& given) {
  require(trace.faults.size() >= kLeastFaultsOfFit, "a fit needs at least 10 faults");
  FitOptions options = given;
  if (options.observed <= Days::zero()) {
    options.observed = last_instant(trace);
  }
  require(options.observed >= kShortestRecord, "a fit needs a record of at least a day");
  const PointFit point =
      fit_point(trace, group_faults(trace, options.least_faults), shape, options, nullptr);
  std::vector<std::vector<double>> parameters(point.parameters.size());
  std::vector<std::vector<double>> distances(point.distances.size());
  for (std::uint32_t replica = 0; replica < options.num_replicas; ++replica) {
    const FaultTrace sample = sample_trace(point.model, shape, options, replica);
    const PointFit refit =
        fit_point(sample, grouping_of(point.model, sample), shape, options, &point);
    if (refit.parameters.size() != parameters.size()) {
      continue;  // a class without two repairs
    }
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      parameters[i].push_back(refit.parameters[i].value);
    }
    for (std::size_t i = 0; i < distances.size(); ++i) {
      distances[i].push_back(refit.distances[i].value);
    }
  }
  FailureFit result{.model = point.model,
                    .observed = options.observed,
                    .statistics = trace_statistics(
                        trace, shape, options.observed, options.batch_gap, options.refault_horizon),
                    .parameters = {},
                    .quality = {},
                    .repairs = point.repairs};
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    result.parameters.push_back(
        with_interval(point.parameters[i], point.is_probability[i], parameters[i]));
  }
  for (std::size_t i = 0; i < distances.size(); ++i) {
    result.quality.push_back(with_p_value(point.distances[i], distances[i]));
  }
  return result;
}

}  // namespace runflat::sim
