#pragma once

#include "sim/fault_timeline.hpp"
#include "sim/recurrence_fit.hpp"

#include <vector>

namespace runflat::sim {

/// Which faults follow from a repair of the same component, and which are independent.
struct RefaultSplit {
  std::vector<double> probability;  ///< by fault: that it is a refault
  RecurrenceFit fit;                ///< over the nodes; faults without one count for node 0
};

/// Lays fit_recurrence() over sorted faults. A member of a batch has a cause of its own, so it is
/// no refault; one that begins before its component is back follows from no repair.
[[nodiscard]] RefaultSplit split_refaults(const std::vector<Fault>& faults,
                                          const ClusterShape& shape,
                                          const std::vector<bool>& in_batch,
                                          Days observed,
                                          Days horizon);

}  // namespace runflat::sim
