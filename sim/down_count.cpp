#include "sim/down_count.hpp"

#include "core/error.hpp"
#include "sim/down_now.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace runflat::sim {
namespace {

/// Components that go down or come back together.
struct Change {
  SimTime time;
  ComponentRange range;
  std::int32_t delta;
};

std::vector<Change> changes_of(const FaultTimeline& timeline, BlastRadius level) {
  std::vector<Change> changes;
  changes.reserve(2 * timeline.faults.size());
  for (const Fault& fault : timeline.faults) {
    const ComponentRange range = components_hit(fault, timeline.shape, level);
    const SimTime begin = std::max(fault.begin, SimTime::zero());
    const SimTime end = std::min(fault.end, timeline.duration);
    if (range.num > 0 && begin < end) {
      changes.push_back({begin, range, 1});
      changes.push_back({end, range, -1});
    }
  }
  std::sort(changes.begin(), changes.end(), [](const Change& a, const Change& b) {
    return a.time < b.time;
  });
  return changes;
}

void append(std::vector<DownCount::Step>& steps, DownCount::Step step) {
  if (steps.back().begin == step.begin) {
    steps.pop_back();
  }
  if (steps.empty() || steps.back().num_down != step.num_down) {
    steps.push_back(step);
  }
}

}  // namespace

DownCount::DownCount(std::vector<Step> steps, SimTime duration, std::int32_t num_components)
    : steps_(std::move(steps)), duration_(duration), num_components_(num_components) {}

DownCount::DownCount(const FaultTimeline& timeline, BlastRadius level)
    : steps_{{}},
      duration_(timeline.duration),
      num_components_(timeline.shape.num_components(level)) {
  require(duration_ > SimTime::zero(), "statistics need a duration above zero");
  DownNow down(num_components_);
  for (const Change& change : changes_of(timeline, level)) {
    down.change(change.range, change.delta);
    if (change.time < duration_) {
      append(steps_, {change.time, down.num_down()});
    }
  }
}

std::int32_t DownCount::at(SimTime time) const {
  require(time >= SimTime::zero() && time < duration_, "a time outside the timeline");
  const auto after =
      std::upper_bound(steps_.begin(), steps_.end(), time, [](SimTime t, const Step& step) {
        return t < step.begin;
      });
  return std::prev(after)->num_down;
}

DownTimes DownCount::times() const {
  DownTimes times;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const SimTime end = i + 1 < steps_.size() ? steps_[i + 1].begin : duration_;
    times.add(steps_[i].num_down, end - steps_[i].begin);
  }
  return times;
}

DownCount DownCount::sampled_every(SimTime interval) const {
  require(interval > SimTime::zero(), "a sampling interval must be above zero");
  std::vector<Step> steps{steps_.front()};
  for (SimTime time = interval; time < duration_; time += interval) {
    append(steps, {time, at(time)});
  }
  return DownCount{std::move(steps), duration_, num_components_};
}

}  // namespace runflat::sim
