#include "sim/down_tally.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <utility>

namespace runflat::sim {

DownTally::DownTally(const ClusterShape& shape, BlastRadius level, SimTime duration)
    : shape_(shape), level_(level), duration_(duration), down_(shape.num_components(level)) {
  require(duration_ > SimTime::zero(), "statistics need a duration above zero");
}

void DownTally::live_through(const FaultWindow& window) {
  for (const Fault& fault : window.faults) {
    const ComponentRange range = components_hit(fault, shape_, level_);
    const SimTime begin = std::max(fault.begin, SimTime::zero());
    const SimTime end = std::min(fault.end, duration_);
    if (range.num > 0 && begin < end) {
      move_to(begin);
      down_.change(range, 1);
      repairs_.push(end, range);
    }
  }
}

DownTimes DownTally::finish() && {
  move_to(duration_);
  return std::move(times_);
}

void DownTally::move_to(SimTime time) {
  run_events(repairs_, time, [&](SimTime end, ComponentRange range, auto&) {
    advance(end);
    down_.change(range, -1);
  });
  advance(time);
}

void DownTally::advance(SimTime time) {
  times_.add(down_.num_down(), time - now_);
  now_ = time;
}

}  // namespace runflat::sim
