#include "kernels/host_dispatch.hpp"
#include "kernels/optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace runflat::kernels {
namespace {

template <typename T>
void update(const AdamwArgs& args, const AdamwTensor& tensor) {
  using A = Accumulate<T>;
  const auto scale = static_cast<A>(*args.scale);
  const auto lr = static_cast<A>(args.lr);
  const auto beta1 = static_cast<A>(args.beta1);
  const auto beta2 = static_cast<A>(args.beta2);
  const auto epsilon = static_cast<A>(args.epsilon);
  const auto weight_decay = static_cast<A>(tensor.weight_decay);
  const auto step = static_cast<double>(args.step);
  const auto correction1 = static_cast<A>(1 / (1 - std::pow(args.beta1, step)));
  const auto correction2 = static_cast<A>(1 / (1 - std::pow(args.beta2, step)));
  const auto* grad = static_cast<const A*>(tensor.grad);
  auto* master = static_cast<A*>(tensor.master);
  auto* exp_avg = static_cast<A*>(tensor.exp_avg);
  auto* exp_avg_sq = static_cast<A*>(tensor.exp_avg_sq);
  auto* weight = static_cast<T*>(tensor.weight);
  for (std::int64_t i = 0; i < tensor.num; ++i) {
    const A g = scale * grad[i];
    const A m = exp_avg[i] = beta1 * exp_avg[i] + static_cast<A>(1 - args.beta1) * g;
    const A v = exp_avg_sq[i] = beta2 * exp_avg_sq[i] + static_cast<A>(1 - args.beta2) * g * g;
    const A direction = m * correction1 / (std::sqrt(v * correction2) + epsilon);
    master[i] -= lr * (direction + weight_decay * master[i]);
    if (weight != nullptr) {
      weight[i] = static_cast<T>(master[i]);
    }
  }
}

}  // namespace

void adamw_reference(const AdamwArgs& args) {
  with_host_type(args.weight_type, [&]<typename T>() {
    for (const AdamwTensor& tensor : args.tensors) {
      update<T>(args, tensor);
    }
  });
}

void squared_sum_reference(const SquaredSumArgs& args) {
  with_host_type(args.type, [&]<typename T>() {
    double sum = 0.0;
    for (const GradRun& run : args.runs) {
      const auto* grad = static_cast<const Accumulate<T>*>(run.grad);
      for (std::int64_t i = 0; i < run.num; ++i) {
        sum += static_cast<double>(grad[i]) * static_cast<double>(grad[i]);
      }
    }
    *args.sum += sum;
  });
}

void clip_scale_reference(const ClipScaleArgs& args) {
  const double tokens = std::max(*args.tokens, 1.0);
  const double norm = std::sqrt(*args.squared_sum) / tokens;
  const double clip = args.max_norm > 0.0 ? std::min(1.0, args.max_norm / (norm + 1e-6)) : 1.0;
  *args.norm = norm;
  *args.scale = std::isfinite(norm) ? clip / tokens : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace runflat::kernels
