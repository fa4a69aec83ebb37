#include "kernels/host_dispatch.hpp"
#include "kernels/norm.hpp"

#include <cmath>

namespace runflat::kernels {
namespace {

/// Mean (0 for RMSNorm) and reciprocal deviation of a row. Two passes: no cancellation.
template <typename T>
struct RowStatistics {
  using A = Accumulate<T>;

  RowStatistics(const T* z, std::int64_t cols, bool centred, double epsilon) {
    const auto size = static_cast<A>(cols);
    if (centred) {
      for (std::int64_t col = 0; col < cols; ++col) {
        mean += load(z[col]);
      }
      mean /= size;
    }
    A squares = 0;
    for (std::int64_t col = 0; col < cols; ++col) {
      const A deviation = load(z[col]) - mean;
      squares += deviation * deviation;
    }
    rstd = 1 / std::sqrt(squares / size + static_cast<A>(epsilon));
  }

  A mean = 0;
  A rstd = 0;
};

template <typename T>
void forward(const NormForwardArgs& args) {
  using A = Accumulate<T>;
  const auto* gain = static_cast<const T*>(args.gain);
  const auto* bias = static_cast<const T*>(args.bias);
  for (std::int64_t row = 0; row < args.rows; ++row) {
    const std::int64_t first = row * args.cols;
    const T* z = static_cast<const T*>(args.x) + first;
    if (args.residual != nullptr) {
      const T* residual = static_cast<const T*>(args.residual) + first;
      T* sum = static_cast<T*>(args.sum) + first;
      for (std::int64_t col = 0; col < args.cols; ++col) {
        sum[col] = static_cast<T>(load(z[col]) + load(residual[col]));
      }
      z = sum;  // what backward will see, rounded
    }
    const RowStatistics<T> row_of(z, args.cols, bias != nullptr, args.epsilon);
    T* y = static_cast<T*>(args.y) + first;
    for (std::int64_t col = 0; col < args.cols; ++col) {
      const A scaled = (load(z[col]) - row_of.mean) * row_of.rstd * load(gain[col]);
      y[col] = static_cast<T>(bias == nullptr ? scaled : scaled + load(bias[col]));
    }
    static_cast<A*>(args.rstd)[row] = row_of.rstd;
    if (bias != nullptr) {
      static_cast<A*>(args.mean)[row] = row_of.mean;
    }
  }
}

/// With n = (z - mean) rstd and g = gain dy: dz = rstd (g - mean(g) - n mean(g n)); RMSNorm has no
/// mean(g).
template <typename T>
void backward(const NormBackwardArgs& args) {
  using A = Accumulate<T>;
  const auto* gain = static_cast<const T*>(args.gain);
  auto* dgain = static_cast<A*>(args.dgain);
  auto* dbias = static_cast<A*>(args.dbias);
  const bool centred = args.mean != nullptr;
  for (std::int64_t row = 0; row < args.rows; ++row) {
    const std::int64_t first = row * args.cols;
    const T* dy = static_cast<const T*>(args.dy) + first;
    const T* z = static_cast<const T*>(args.z) + first;
    const A mean = centred ? static_cast<const A*>(args.mean)[row] : A{0};
    const A rstd = static_cast<const A*>(args.rstd)[row];
    A sum_g = 0;
    A sum_gn = 0;
    for (std::int64_t col = 0; col < args.cols; ++col) {
      const A n = (load(z[col]) - mean) * rstd;
      const A g = load(gain[col]) * load(dy[col]);
      sum_g += g;
      sum_gn += g * n;
      dgain[col] += load(dy[col]) * n;
      if (centred) {
        dbias[col] += load(dy[col]);
      }
    }
    const A mean_g = centred ? sum_g / static_cast<A>(args.cols) : A{0};
    const A mean_gn = sum_gn / static_cast<A>(args.cols);
    const T* dresidual =
        args.dresidual == nullptr ? nullptr : static_cast<const T*>(args.dresidual) + first;
    T* dx = static_cast<T*>(args.dx) + first;
    for (std::int64_t col = 0; col < args.cols; ++col) {
      const A n = (load(z[col]) - mean) * rstd;
      const A dz = rstd * (load(gain[col]) * load(dy[col]) - mean_g - n * mean_gn);
      dx[col] = static_cast<T>(dresidual == nullptr ? dz : dz + load(dresidual[col]));
    }
  }
}

}  // namespace

void norm_forward_reference(const NormForwardArgs& args) {
  with_host_type(args.type, [&]<typename T>() { forward<T>(args); });
}

void norm_backward_reference(const NormBackwardArgs& args) {
  with_host_type(args.type, [&]<typename T>() { backward<T>(args); });
}

}  // namespace runflat::kernels
