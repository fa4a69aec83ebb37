#include "sim/arrival_clock.hpp"

#include "sim/portable_math.hpp"

namespace runflat::sim {

UnitRenewal::UnitRenewal(double shape)
    : shape_(shape), scale_(1.0 / portable_gamma(1.0 + 1.0 / shape)) {}

double UnitRenewal::first(RandomStream& stream) const {
  if (shape_ == 1.0) {
    return stream.exponential();
  }
  const double length = power(stream.gamma(1.0 + 1.0 / shape_));
  return stream.uniform() * length;
}

double UnitRenewal::next(RandomStream& stream) const {
  const double x = stream.exponential();
  return shape_ == 1.0 ? x : power(x);
}

double UnitRenewal::power(double x) const {
  return scale_ * portable_exp(portable_log(x) / shape_);
}

Days ArrivalClock::advance(Days at, Days gap) {
  while (next_ < steps_->size()) {
    const RateStep& step = (*steps_)[next_];
    const Days passed = factor_ * (step.from - at);
    if (step.from > at && gap < passed) {
      break;
    }
    if (step.from > at) {
      gap -= passed;
      at = step.from;
    }
    factor_ = step.factor;
    ++next_;
  }
  return factor_ == 1.0 ? at + gap : at + gap / factor_;  // never at a factor of 0
}

}  // namespace runflat::sim
