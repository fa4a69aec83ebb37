#include "kernels/activation.hpp"
#include "kernels/host_dispatch.hpp"

#include <cmath>
#include <numbers>

namespace runflat::kernels {
namespace {

template <typename T>
Accumulate<T> with_bias(const T* x, const T* bias, std::int64_t index, std::int64_t col) {
  return bias == nullptr ? load(x[index]) : load(x[index]) + load(bias[col]);
}

template <typename A>
A sigmoid(A x) {
  return 1 / (1 + std::exp(-x));
}

/// f(index of the element, gate, up) for every element.
template <typename T, typename F>
void for_each_gated(const SwigluArgs& args, F f) {
  const auto* x = static_cast<const T*>(args.x);
  const auto* bias = static_cast<const T*>(args.bias);
  for (std::int64_t row = 0; row < args.rows; ++row) {
    for (std::int64_t col = 0; col < args.cols; ++col) {
      const std::int64_t index = row * args.cols + col;
      f(index,
        with_bias(x, bias, 2 * index, 2 * col),
        with_bias(x, bias, 2 * index + 1, 2 * col + 1));
    }
  }
}

template <typename T>
void swiglu_forward(const SwigluArgs& args) {
  using A = Accumulate<T>;
  auto* y = static_cast<T*>(args.y);
  for_each_gated<T>(args, [&](std::int64_t index, A gate, A up) {
    y[index] = static_cast<T>(gate * sigmoid(gate) * up);
  });
}

/// silu'(g) = s (1 + g (1 - s)) with s = sigmoid(g).
template <typename T>
void swiglu_backward(const SwigluArgs& args) {
  using A = Accumulate<T>;
  const auto* dy = static_cast<const T*>(args.dy);
  auto* y = static_cast<T*>(args.y);
  auto* dx = static_cast<T*>(args.dx);
  for_each_gated<T>(args, [&](std::int64_t index, A gate, A up) {
    const A s = sigmoid(gate);
    const A grad = load(dy[index]);
    dx[2 * index] = static_cast<T>(grad * up * s * (1 + gate * (1 - s)));
    dx[2 * index + 1] = static_cast<T>(grad * gate * s);
    if (y != nullptr) {
      y[index] = static_cast<T>(gate * s * up);
    }
  });
}

/// gelu(z) = z p with p = (1 + tanh(u)) / 2 and u = sqrt(2/pi) (z + 0.044715 z^3).
template <typename A>
struct Gelu {
  static constexpr A kScale = static_cast<A>(std::numbers::sqrt2 * std::numbers::inv_sqrtpi);
  static constexpr A kCubic = static_cast<A>(0.044715);

  explicit Gelu(A at) : z(at), tanh_u(std::tanh(kScale * (z + kCubic * z * z * z))) {}

  [[nodiscard]] A value() const { return z * (1 + tanh_u) / 2; }
  [[nodiscard]] A slope() const {
    const A du = kScale * (1 + 3 * kCubic * z * z);
    return (1 + tanh_u) / 2 + z * (1 - tanh_u * tanh_u) * du / 2;
  }

  A z;
  A tanh_u;
};

/// f(index of the element, its Gelu) for every element.
template <typename T, typename F>
void for_each_gelu(const GeluArgs& args, F f) {
  const auto* x = static_cast<const T*>(args.x);
  const auto* bias = static_cast<const T*>(args.bias);
  for (std::int64_t row = 0; row < args.rows; ++row) {
    for (std::int64_t col = 0; col < args.cols; ++col) {
      const std::int64_t index = row * args.cols + col;
      f(index, Gelu<Accumulate<T>>(with_bias(x, bias, index, col)));
    }
  }
}

template <typename T>
void gelu_forward(const GeluArgs& args) {
  auto* y = static_cast<T*>(args.y);
  for_each_gelu<T>(
      args, [&](std::int64_t index, const auto& gelu) { y[index] = static_cast<T>(gelu.value()); });
}

template <typename T>
void gelu_backward(const GeluArgs& args) {
  const auto* dy = static_cast<const T*>(args.dy);
  auto* y = static_cast<T*>(args.y);
  auto* dx = static_cast<T*>(args.dx);
  for_each_gelu<T>(args, [&](std::int64_t index, const auto& gelu) {
    dx[index] = static_cast<T>(load(dy[index]) * gelu.slope());
    if (y != nullptr) {
      y[index] = static_cast<T>(gelu.value());
    }
  });
}

}  // namespace

void swiglu_forward_reference(const SwigluArgs& args) {
  with_host_type(args.type, [&]<typename T>() { swiglu_forward<T>(args); });
}

void swiglu_backward_reference(const SwigluArgs& args) {
  with_host_type(args.type, [&]<typename T>() { swiglu_backward<T>(args); });
}

void gelu_forward_reference(const GeluArgs& args) {
  with_host_type(args.type, [&]<typename T>() { gelu_forward<T>(args); });
}

void gelu_backward_reference(const GeluArgs& args) {
  with_host_type(args.type, [&]<typename T>() { gelu_backward<T>(args); });
}

}  // namespace runflat::kernels
