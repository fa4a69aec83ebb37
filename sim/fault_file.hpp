#pragma once

#include "core/value.hpp"
#include "sim/failure_fit.hpp"
#include "sim/failure_model.hpp"
#include "sim/fault_timeline.hpp"

#include <string>

namespace runflat {
class Reader;
}

namespace runflat::sim {

/// A failure model with the cluster that it was fitted to.
struct FaultFile {
  ClusterShape shape;
  FailureModel model;
};

/// Reads `schema = 1`, the table `cluster` with num_nodes, gpus_per_node and optionally domain_size
/// (a node unless given), and the table `failures`. ParseError for anything else.
[[nodiscard]] FaultFile read_fault_file(const Reader& place);

/// The fitted model as TOML that read_fault_file reads back, to six digits, and that the key
/// failures.include of a scenario takes; intervals and p-values stand beside the numbers.
[[nodiscard]] std::string fault_file_toml(const FailureFit& fit, const ClusterShape& shape);

/// Everything that a fit found: statistics of the trace, parameters with intervals, quality, and
/// the repair laws of each class with their AIC.
[[nodiscard]] Value to_value(const FailureFit& fit);

}  // namespace runflat::sim
