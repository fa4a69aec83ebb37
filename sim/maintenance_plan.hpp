#pragma once

#include "sim/class_sampler.hpp"
#include "sim/failure_process.hpp"
#include "sim/fault_timeline.hpp"

#include <cstdint>
#include <vector>

namespace runflat::sim {

/// Dated work on the components of one Maintenance, up to the end of a trial. Holds the next date
/// of every component.
class MaintenancePlan {
 public:
  /// Throws InvalidArgument where the work takes no time, or longer than its period.
  MaintenancePlan(const Maintenance& work, std::int32_t class_index, SimTime duration);

  /// Adds what begins before `end`, which never goes back.
  void run(SimTime end, WaitingFaults& out);

 private:
  SimTime period_;
  SimTime duration_;
  std::vector<Fault> next_;  // a heap, earliest first
};

}  // namespace runflat::sim
