#pragma once

#include "core/injected_fault.hpp"
#include "core/units.hpp"
#include "sim/trace.hpp"

#include <vector>

namespace runflat::sim {

/// What the simulator must know of a job to live through faults that the executor would inject.
struct InjectionSpec {
  Seconds step_time{};         ///< of the healthy job
  double compute_share = 1.0;  ///< of it: what a slow GPU stretches
  Seconds detect_hang{};       ///< a shorter hang is noticed by nobody
  Seconds reconnect{};         ///< what broken connections cost beside a redone step
};

/// Faults on demand as a trace. The processes are the GPUs of the cluster in order; the classes are
/// the kinds.
///   When           step s takes ((s - 1) T, s T), T being the healthy step time, whatever was lost
///                  before; what strikes before the decision does so in its middle, what strikes
///                  after it at its end. A time is taken as it is. A fault in a transition strikes
///                  when the next GPU is lost or comes back, or connections break.
///   kill           the GPU is down from then on, noticed as a crash
///   stop, hang     likewise, noticed as a hang; a hang that is too short for that loses its
///   seconds slow           a slowdown by which the job loses the seconds, if the GPU takes part
///   nan, corrupt   likewise a whole step, which is redone
///   drop_link      likewise a whole step and the reconnection
/// A GPU that is lost comes back `repair_steps` x T later. A fault of a GPU that is down waits
/// until it is back; as in a run, what waits for something that never comes does not strike.
///
/// ParseError, with the fault, where the cluster has no such GPU.
[[nodiscard]] FaultTrace injected_trace(const std::vector<InjectedFault>& faults,
                                        const ClusterShape& shape,
                                        const InjectionSpec& spec);

}  // namespace runflat::sim
