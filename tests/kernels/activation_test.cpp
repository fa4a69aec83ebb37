#include "kernels/activation.hpp"

#include "tests/catch.hpp"
#include "tests/kernels/host_values.hpp"

#include <numbers>

using namespace runflat;
using kernels::DataType;
using tests::random_values;
using Values = std::vector<double>;

namespace {

constexpr std::int64_t kRows = 3;
constexpr std::int64_t kCols = 5;

kernels::SwigluArgs swiglu_args(const Values& x, const Values* bias, Values& y) {
  return {.x = x.data(),
          .bias = bias == nullptr ? nullptr : bias->data(),
          .y = y.data(),
          .rows = kRows,
          .cols = kCols,
          .type = DataType::fp64};
}

kernels::GeluArgs gelu_args(const Values& x, const Values* bias, Values& y) {
  return {.x = x.data(),
          .bias = bias == nullptr ? nullptr : bias->data(),
          .y = y.data(),
          .rows = kRows,
          .cols = kCols,
          .type = DataType::fp64};
}

}  // namespace

TEST_CASE("swiglu is gate times sigmoid of gate times up, of x plus bias",
          "[kernels][activation]") {
  tests::Dice dice(1);
  const Values x = random_values(dice, kRows * kCols * 2, 6.0);
  const Values bias = random_values(dice, kCols * 2);
  Values y(kRows * kCols);
  kernels::swiglu_forward_reference(swiglu_args(x, &bias, y));
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::size_t col = i % kCols;
    const double gate = x.at(2 * i) + bias.at(2 * col);
    const double up = x.at(2 * i + 1) + bias.at(2 * col + 1);
    CHECK(y.at(i) == Approx(gate * up / (1.0 + std::exp(-gate))));
  }
}

TEST_CASE("activations of huge numbers stay finite", "[kernels][activation]") {
  Values x(kRows * kCols * 2);
  for (std::size_t i = 0; i < x.size(); ++i) {
    x.at(i) = i % 4 < 2 ? 1e4 : -1e4;
  }
  Values y(kRows * kCols);
  kernels::swiglu_forward_reference(swiglu_args(x, nullptr, y));
  CHECK(y.at(0) == 1e8);
  CHECK(y.at(1) == 0.0);
  kernels::gelu_forward_reference(gelu_args(x, nullptr, y));
  CHECK(y.at(0) == 1e4);
  CHECK(y.at(2) == 0.0);
}

TEST_CASE("gelu follows its tanh form, which is near x times the normal distribution",
          "[kernels][activation]") {
  tests::Dice dice(2);
  const Values x = random_values(dice, kRows * kCols, 4.0);
  const Values bias = random_values(dice, kCols);
  Values y(x.size());
  kernels::gelu_forward_reference(gelu_args(x, &bias, y));
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double z = x.at(i) + bias.at(i % kCols);
    const double u = std::sqrt(2.0 / std::numbers::pi) * (z + 0.044715 * z * z * z);
    CHECK(y.at(i) == Approx(0.5 * z * (1.0 + std::tanh(u))));
    // Hendrycks and Gimpel's approximation is within 5e-4 of the exact GELU.
    CHECK(std::abs(y.at(i) - 0.5 * z * (1.0 + std::erf(z / std::numbers::sqrt2))) < 5e-4);
  }
}

TEST_CASE("gradients of activations are those of central differences", "[kernels][activation]") {
  tests::Dice dice(3);
  const Values dy = random_values(dice, kRows * kCols);
  for (const bool gated : {true, false}) {
    CAPTURE(gated);
    Values x = random_values(dice, kRows * kCols * (gated ? 2 : 1), 3.0);
    const Values bias = random_values(dice, kCols * 2);
    Values y(dy.size());
    const auto loss = [&] {
      gated ? kernels::swiglu_forward_reference(swiglu_args(x, &bias, y))
            : kernels::gelu_forward_reference(gelu_args(x, &bias, y));
      return tests::dot(y, dy);
    };
    const Values expected = tests::central_differences(x, loss);
    loss();
    const Values forward_y = y;
    Values dx = x;  // in place: dx may be x
    y.assign(y.size(), 0.0);
    if (gated) {
      kernels::SwigluArgs args = swiglu_args(dx, &bias, y);
      args.dy = dy.data();
      args.dx = dx.data();
      kernels::swiglu_backward_reference(args);
    } else {
      kernels::GeluArgs args = gelu_args(dx, &bias, y);
      args.dy = dy.data();
      args.dx = dx.data();
      kernels::gelu_backward_reference(args);
    }
    CHECK(tests::max_difference(dx, expected) < tests::kDifferencesError);
    CHECK(y == forward_y);
  }
}
