#pragma once

#include "sim/down_now.hpp"
#include "sim/down_times.hpp"
#include "sim/event_queue.hpp"
#include "sim/fault_window.hpp"

namespace runflat::sim {

/// Adds up how many components of one level are down through the windows of a trial, as DownCount
/// does for a whole one.
class DownTally {
 public:
  DownTally(const ClusterShape& shape, BlastRadius level, SimTime duration);

  void live_through(const FaultWindow& window);
  /// After the last window of the trial.
  [[nodiscard]] DownTimes finish() &&;

 private:
  void move_to(SimTime time);
  void advance(SimTime time);

  ClusterShape shape_;
  BlastRadius level_;
  SimTime duration_;
  DownNow down_;
  EventQueue<ComponentRange> repairs_;
  SimTime now_{};
  DownTimes times_;
};

}  // namespace runflat::sim
