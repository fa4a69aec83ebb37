#include "sim/down_count.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace runflat::sim {
namespace {

/// Components that go down or come back together.
struct Change {
  SimTime time;
  ComponentRange range;
  int delta;
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
  std::vector<std::int32_t> num_faults(static_cast<std::size_t>(num_components_), 0);
  std::int32_t num_down = 0;
  for (const Change& change : changes_of(timeline, level)) {
    for (std::int32_t i = change.range.first; i < change.range.first + change.range.num; ++i) {
      std::int32_t& count = num_faults[static_cast<std::size_t>(i)];
      num_down -= count > 0 ? 1 : 0;
      count += change.delta;
      num_down += count > 0 ? 1 : 0;
    }
    if (change.time < duration_) {
      append(steps_, {change.time, num_down});
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

std::vector<std::int64_t> DownCount::time_at_each() const {
  std::vector<std::int64_t> times(static_cast<std::size_t>(max()) + 1, 0);
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const SimTime end = i + 1 < steps_.size() ? steps_[i + 1].begin : duration_;
    times[static_cast<std::size_t>(steps_[i].num_down)] += (end - steps_[i].begin).count();
  }
  return times;
}

double DownCount::mean() const {
  double sum = 0.0;
  double num_down = 0.0;
  for (const std::int64_t time : time_at_each()) {
    sum += num_down * static_cast<double>(time);
    num_down += 1.0;
  }
  return sum / static_cast<double>(duration_.count());
}

std::int32_t DownCount::max() const {
  return std::max_element(steps_.begin(),
                          steps_.end(),
                          [](const Step& a, const Step& b) { return a.num_down < b.num_down; })
      ->num_down;
}

std::int32_t DownCount::quantile(double q) const {
  require(q >= 0.0 && q <= 1.0, "a quantile lies between 0 and 1");
  const double enough = q * static_cast<double>(duration_.count());
  std::int64_t sum = 0;
  std::int32_t num_down = 0;
  for (const std::int64_t time : time_at_each()) {
    sum += time;
    if (sum > 0 && static_cast<double>(sum) >= enough) {
      break;
    }
    ++num_down;
  }
  return std::min(num_down, max());
}

double DownCount::fraction_above(double num_down) const {
  std::int64_t sum = 0;
  double value = 0.0;
  for (const std::int64_t time : time_at_each()) {
    sum += value > num_down ? time : 0;
    value += 1.0;
  }
  return static_cast<double>(sum) / static_cast<double>(duration_.count());
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
