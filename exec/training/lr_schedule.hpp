#pragma once

#include <cstdint>

namespace runflat::exec {

enum class LrDecayStyle : std::uint8_t { constant, linear, cosine, inverse_square_root, wsd };
enum class WsdDecayStyle : std::uint8_t { linear, cosine, exponential, minus_square_root };

/// Megatron's learning rate over the samples consumed before a step (OptimizerParamScheduler):
/// warm-up from `init_lr` to `lr`, then the decay style down to `min_lr` at `decay_samples`.
struct LrSchedule {
  double lr = 1e-3;
  double min_lr = 0.0;
  double init_lr = 0.0;
  std::int64_t warmup_samples = 0;
  std::int64_t decay_samples = 0;
  LrDecayStyle style = LrDecayStyle::cosine;
  std::int64_t wsd_decay_samples = 0;  ///< the last part of decay_samples, in which WSD decays
  WsdDecayStyle wsd_style = WsdDecayStyle::exponential;

  [[nodiscard]] double at(std::int64_t samples) const;
};

}  // namespace runflat::exec
