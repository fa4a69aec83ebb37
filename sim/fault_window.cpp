#include "sim/fault_window.hpp"

#include <algorithm>

namespace runflat::sim {

std::vector<Corruption> corruptions_of(std::span<const Fault> faults) {
  std::vector<Corruption> corruptions;
  for (const Fault& fault : faults) {
    if (fault.silent_for.count() > 0) {
      corruptions.push_back({fault.begin - fault.silent_for, fault.component, fault.blast_radius});
    }
  }
  std::sort(corruptions.begin(), corruptions.end());
  return corruptions;
}

FaultWindow whole_window(const FaultTimeline& trial, std::span<const Corruption> corruptions) {
  return {.end = kNever,
          .faults = trial.faults,
          .slowdowns = trial.slowdowns,
          .corruptions = corruptions};
}

}  // namespace runflat::sim
