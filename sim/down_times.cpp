#include "sim/down_times.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cstddef>

namespace runflat::sim {

void DownTimes::add(std::int32_t num_down, SimTime span) {
  const auto index = static_cast<std::size_t>(num_down);
  if (index >= times_.size()) {
    times_.resize(index + 1, 0);
  }
  times_[index] += span.count();
  total_ += span;
}

double DownTimes::mean() const {
  double sum = 0.0;
  double num_down = 0.0;
  for (const std::int64_t time : times_) {
    sum += num_down * static_cast<double>(time);
    num_down += 1.0;
  }
  return sum / static_cast<double>(total_.count());
}

std::int32_t DownTimes::quantile(double q) const {
  require(q >= 0.0 && q <= 1.0, "a quantile lies between 0 and 1");
  const double enough = q * static_cast<double>(total_.count());
  std::int64_t sum = 0;
  std::int32_t num_down = 0;
  for (const std::int64_t time : times_) {
    sum += time;
    if (sum > 0 && static_cast<double>(sum) >= enough) {
      break;
    }
    ++num_down;
  }
  return std::min(num_down, max());
}

double DownTimes::fraction_above(double num_down) const {
  std::int64_t sum = 0;
  double value = 0.0;
  for (const std::int64_t time : times_) {
    sum += value > num_down ? time : 0;
    value += 1.0;
  }
  return static_cast<double>(sum) / static_cast<double>(total_.count());
}

}  // namespace runflat::sim
