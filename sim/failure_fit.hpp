#pragma once

#include "sim/failure_model.hpp"
#include "sim/law_fit.hpp"
#include "sim/trace.hpp"
#include "sim/trace_statistics.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace runflat::sim {

/// A fit needs at least this many faults.
inline constexpr std::size_t kLeastFaultsOfFit = 10;
/// And a record of at least this time.
inline constexpr Days kShortestRecord{1.0};

struct FitOptions {
  Days observed{};  ///< the time that the trace covers; zero: up to its latest instant,
  ///< at least kShortestRecord
  Seconds batch_gap{60.0};        ///< faults of a class this close belong to one batch
  Days refault_horizon{7.0};      ///< after a repair; later faults are never refaults
  std::size_t least_faults = 30;  ///< of a class of its own; the rarer ones of a radius are pooled
  std::uint32_t num_replicas = 200;  ///< of the parametric bootstrap; 0: no intervals
  std::uint64_t seed = 1;
};

/// A fitted number with its 95 % interval, which is empty (NaN) without a bootstrap.
struct FittedNumber {
  std::string name;
  double value = 0.0;
  double low = 0.0;
  double high = 0.0;
};

/// How well a law of the model describes the trace: a small p-value says that it does not.
struct FitQuality {
  std::string name;
  double kolmogorov_smirnov = 0.0;
  double p_value = 1.0;  ///< share of replicas, the trace counted in, at least as far from their
                         ///< own fit; NaN without them
};

struct FailureFit {
  FailureModel model;
  Days observed{};
  TraceStatistics statistics;
  std::vector<FittedNumber> parameters;  ///< of the model; those of a class begin with its name
  std::vector<FitQuality> quality;
  std::vector<std::vector<LawFit>> repairs;  ///< by class of the model, the best law first
};

/// Fits a FailureModel to the faults of a trace (slow components are left out):
///  - rate of each class: faults / (nodes x time);
///  - refaults, common to all classes, and shape of the nodes' Gamma multipliers: fit_recurrence()
///    over the faults that come alone, as the members of a batch have a common cause; the size of a
///    negative binomial where all spread is the nodes';
///  - batch sizes of each class: how many arrivals had that many faults, refaults left out;
///  - Weibull shape of each class: of the positive gaps between its arrivals;
///  - repair law of each class: fit_laws(), open repairs left out, none shorter than 36 s (0.01 h).
/// Infant mortality, rates that step, silence and maintenance cannot be told from a trace alone.
///
/// Intervals and p-values come from a parametric bootstrap: the fitted model is sampled over the
/// same nodes and time, each sample is fitted again, and the ratio (for probabilities: the odds
/// ratio) of the fits to the model that they came from is taken to be that of the model to the
/// truth, and its logarithm to be normal. That accounts for the correlation of the faults in time,
/// which a formula for independent ones would not, and for having chosen the parameters of a law
/// before measuring its distance. A function of its arguments.
///
/// Throws InvalidArgument for a trace of fewer than kLeastFaultsOfFit faults, or of less time than
/// kShortestRecord.
[[nodiscard]] FailureFit fit_failures(const FaultTrace& trace,
                                      const ClusterShape& shape,
                                      const FitOptions& options = {});

}  // namespace runflat::sim
