#pragma once

#include "core/units.hpp"
#include "sim/fault_timeline.hpp"
#include "sim/trace.hpp"

#include <optional>
#include <vector>

namespace runflat::sim {

/// What a trace looks like before any model is laid over it; the definitions of published numbers.
struct TraceStatistics {
  std::size_t num_faults = 0;
  double rate_per_1000_node_days = 0.0;
  double gap_variation = 0.0;      ///< deviation over mean of the gaps between faults, zeros too
  double gap_weibull_shape = 0.0;  ///< maximum likelihood over the gaps above zero; 0: too few
  double weekly_fano = 0.0;        ///< variance over mean of the counts of whole weeks
  double node_count_mean = 0.0;    ///< faults of a node, of gpu and node faults
  double node_count_variance = 0.0;
  std::optional<double>
      node_size_by_moments{};  ///< negative binomial k: mean^2 / (variance - mean)
  std::optional<double> node_size_by_likelihood{};  ///< negative binomial k
  std::vector<std::size_t> batches{};  ///< [i]: runs of i + 1 faults with gaps of at most batch_gap
  double refault_share = 0.0;  ///< of all faults: the same component fails again within the horizon
                               ///< of the repair
};

/// `observed` is the time that the trace covers, above zero. Throws InvalidArgument otherwise.
[[nodiscard]] TraceStatistics trace_statistics(const FaultTrace& trace,
                                               const ClusterShape& shape,
                                               Days observed,
                                               Seconds batch_gap = Seconds{60},
                                               Days refault_horizon = Days{7});

/// Lengths of the runs of ascending times with gaps of at most `longest_gap`, in order.
[[nodiscard]] std::vector<std::size_t> run_lengths(const std::vector<SimTime>& times,
                                                   SimTime longest_gap);

}  // namespace runflat::sim
