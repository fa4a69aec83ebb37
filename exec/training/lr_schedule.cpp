#include "exec/training/lr_schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace runflat::exec {
namespace {

double cosine(double progress) {
  return 0.5 * (std::cos(std::numbers::pi * progress) + 1.0);
}

double wsd_factor(WsdDecayStyle style, double progress) {
  switch (style) {
    case WsdDecayStyle::linear:
      return 1.0 - progress;
    case WsdDecayStyle::cosine:
      return cosine(progress);
    case WsdDecayStyle::exponential:
      return 2.0 * std::pow(0.5, progress) - 1.0;
    case WsdDecayStyle::minus_square_root:
      return 1.0 - std::sqrt(progress);
  }
  return 1.0;
}

}  // namespace

double LrSchedule::at(std::int64_t samples) const {
  const auto real = [](std::int64_t n) { return static_cast<double>(n); };
  if (warmup_samples > 0 && samples <= warmup_samples) {
    return init_lr + (lr - init_lr) * real(samples) / real(warmup_samples);
  }
  if (style == LrDecayStyle::constant) {
    return lr;
  }
  if (samples > decay_samples) {
    return min_lr;
  }
  if (style == LrDecayStyle::inverse_square_root) {
    const double warmup = real(std::max<std::int64_t>(warmup_samples, 1));
    const double now = real(std::max<std::int64_t>(samples, 1));
    return std::max(min_lr, lr * std::sqrt(warmup) / std::sqrt(now));
  }
  double factor = 1.0;
  const std::int64_t wsd_start = decay_samples - wsd_decay_samples;
  if (style == LrDecayStyle::wsd) {
    factor = samples <= wsd_start
                 ? 1.0
                 : wsd_factor(wsd_style, real(samples - wsd_start) / real(wsd_decay_samples));
  } else {
    const double progress = real(samples - warmup_samples) /
                            real(std::max<std::int64_t>(decay_samples - warmup_samples, 1));
    factor = style == LrDecayStyle::linear ? 1.0 - progress : cosine(progress);
  }
  return min_lr + (lr - min_lr) * factor;
}

}  // namespace runflat::exec
