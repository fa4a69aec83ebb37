#include "sim/trace_statistics.hpp"

#include "core/error.hpp"
#include "sim/law_fit.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace runflat::sim {
namespace {

struct Moments {
  double mean = 0.0;
  double variance = 0.0;  // of the population
};

Moments moments(const std::vector<double>& numbers) {
  if (numbers.empty()) {
    return {};
  }
  const auto n = static_cast<double>(numbers.size());
  double sum = 0.0;
  for (const double x : numbers) {
    sum += x;
  }
  double squares = 0.0;
  for (const double x : numbers) {
    squares += (x - sum / n) * (x - sum / n);
  }
  return {sum / n, squares / n};
}

void describe_gaps(TraceStatistics& result, const std::vector<SimTime>& times) {
  std::vector<double> gaps;
  for (std::size_t i = 1; i < times.size(); ++i) {
    gaps.push_back(to_days(times[i] - times[i - 1]).count());
  }
  const Moments found = moments(gaps);
  result.gap_variation = found.mean > 0.0 ? std::sqrt(found.variance) / found.mean : 0.0;
  if (std::count_if(gaps.begin(), gaps.end(), [](double gap) { return gap > 0.0; }) >= 2) {
    result.gap_weibull_shape = fit_weibull_shape(gaps);
  }
}

double weekly_fano(const std::vector<SimTime>& times, Days observed) {
  std::vector<double> weeks(static_cast<std::size_t>(observed.count() / 7.0));
  for (const SimTime time : times) {
    const auto week = static_cast<std::size_t>(to_days(time).count() / 7.0);
    if (week < weeks.size()) {
      ++weeks[week];
    }
  }
  const Moments found = moments(weeks);
  return found.mean > 0.0 ? found.variance / found.mean : 0.0;
}

void describe_nodes(TraceStatistics& result, const FaultTrace& trace, const ClusterShape& shape) {
  std::vector<double> counts(static_cast<std::size_t>(shape.num_nodes));
  for (const Fault& fault : trace.faults) {
    if (fault.blast_radius == BlastRadius::gpu || fault.blast_radius == BlastRadius::node) {
      const std::int32_t node = components_hit(fault, shape, BlastRadius::node).first;
      ++counts[static_cast<std::size_t>(node)];
    }
  }
  const Moments found = moments(counts);
  result.node_count_mean = found.mean;
  result.node_count_variance = found.variance;
  if (found.variance > found.mean) {
    result.node_size_by_moments = found.mean * found.mean / (found.variance - found.mean);
  }
  result.node_size_by_likelihood = fit_negative_binomial_size(counts);
}

double refault_share(const std::vector<Fault>& faults, SimTime horizon) {
  std::map<std::pair<BlastRadius, std::int32_t>, std::vector<SimTime>> begins;
  for (const Fault& fault : faults) {
    begins[{fault.blast_radius, fault.component}].push_back(fault.begin);
  }
  double num = 0.0;
  for (const Fault& fault : faults) {
    const auto& times = begins[{fault.blast_radius, fault.component}];
    const auto next = fault.begin < fault.end
                          ? std::lower_bound(times.begin(), times.end(), fault.end)
                          : std::upper_bound(times.begin(), times.end(), fault.end);
    num += next != times.end() && *next - fault.end <= horizon ? 1.0 : 0.0;
  }
  return faults.empty() ? 0.0 : num / static_cast<double>(faults.size());
}

}  // namespace

std::vector<std::size_t> run_lengths(const std::vector<SimTime>& times, SimTime longest_gap) {
  std::vector<std::size_t> lengths;
  for (std::size_t i = 0; i < times.size(); ++i) {
    if (i == 0 || times[i] - times[i - 1] > longest_gap) {
      lengths.push_back(0);
    }
    ++lengths.back();
  }
  return lengths;
}

TraceStatistics trace_statistics(const FaultTrace& trace,
                                 const ClusterShape& shape,
                                 Days observed,
                                 Seconds batch_gap,
                                 Days refault_horizon) {
  require(observed > Days::zero(), "a trace covers some time");
  TraceStatistics result{.num_faults = trace.faults.size()};
  std::vector<SimTime> times;
  for (const Fault& fault : trace.faults) {
    times.push_back(fault.begin);
  }
  result.rate_per_1000_node_days =
      1000.0 * static_cast<double>(times.size()) / (shape.num_nodes * observed.count());
  describe_gaps(result, times);
  result.weekly_fano = weekly_fano(times, observed);
  describe_nodes(result, trace, shape);
  for (const std::size_t length : run_lengths(times, to_sim_time(batch_gap))) {
    result.batches.resize(std::max(result.batches.size(), length));
    ++result.batches[length - 1];
  }
  result.refault_share = refault_share(trace.faults, to_sim_time(refault_horizon));
  return result;
}

}  // namespace runflat::sim
