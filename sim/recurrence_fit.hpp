#pragma once

#include "sim/sim_time.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace runflat::sim {

/// What followed one repair on the same component: `span` later the next fault, or the end of the
/// observation.
struct RepairSpell {
  Days span{};
  bool may_recur = false;   ///< ended by a fault that may be a recurrence of the repaired one
  std::size_t node = 0;     ///< whose rate of independent faults applies; any number of groups
  double rate_share = 1.0;  ///< of the node's rate that falls on the component
};

/// Independent faults against those that follow from a repair.
struct RecurrenceFit {
  double probability = 0.0;
  double log_median = 0.0;  ///< of the delay in days, lognormal
  double sigma = 1.0;
  std::optional<double> node_size;  ///< shape of the nodes' Gamma rate multipliers; none: alike
  std::vector<double> posterior;    ///< by spell: that it ended in a recurrence
};

/// Maximum likelihood by expectation and maximization. After a repair the component fails again
/// with probability p, a lognormal delay D later, and independently at its own rate r, which is
/// r_n = (k + b) / (k / m + T) on a node with b independent faults so far where the nodes' average
/// is m x T: a spell that ended in a fault at d was a recurrence with probability
/// p f(d) / (p f(d) + r (1 - p F(d))). Beyond `horizon` no fault counts as one: the law's tail
/// there is extrapolated. `arrivals` are the surely independent faults by node, all over the time
/// `observed`.
[[nodiscard]] RecurrenceFit fit_recurrence(const std::vector<RepairSpell>& spells,
                                           const std::vector<double>& arrivals,
                                           Days observed,
                                           Days horizon);

}  // namespace runflat::sim
