#include "sim/maintenance_plan.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <functional>

namespace runflat::sim {

MaintenancePlan::MaintenancePlan(const Maintenance& work,
                                 std::int32_t class_index,
                                 SimTime duration)
    : period_(work.period ? to_sim_time(*work.period) : kNever), duration_(duration) {
  const SimTime span = to_sim_time(work.duration);
  require(span > SimTime::zero() && period_ >= span && work.stagger >= Seconds::zero() &&
              work.at >= Days::zero() && work.components.num >= 0,
          "maintenance takes time, begins on day 0 or later, and has a period longer than itself");
  for (std::int32_t i = 0; i < work.components.num; ++i) {
    const SimTime begin = to_sim_time(work.at + i * work.stagger);
    if (begin >= duration_) {
      break;
    }
    next_.push_back({.begin = begin,
                     .end = add_span(begin, span),
                     .component = work.components.first + i,
                     .class_index = class_index,
                     .blast_radius = work.blast_radius,
                     .detection = Detection::planned});
  }
  std::make_heap(next_.begin(), next_.end(), std::greater<>());
}

void MaintenancePlan::run(SimTime end, WaitingFaults& out) {
  while (!next_.empty() && next_.front().begin < end) {
    std::pop_heap(next_.begin(), next_.end(), std::greater<>());
    Fault& fault = next_.back();
    out.faults.add(fault);
    const SimTime span = fault.end - fault.begin;
    fault.begin = add_span(fault.begin, period_);
    if (fault.begin >= duration_) {
      next_.pop_back();
      continue;
    }
    fault.end = add_span(fault.begin, span);
    std::push_heap(next_.begin(), next_.end(), std::greater<>());
  }
}

}  // namespace runflat::sim
