#include "kernels/norm.hpp"

#include "tests/catch.hpp"
#include "tests/kernels/host_values.hpp"

using namespace runflat;
using kernels::DataType;
using tests::max_difference;
using tests::random_values;
using Values = std::vector<double>;

namespace {

struct Case {
  std::int64_t rows = 3;
  std::int64_t cols = 7;
  bool centred = false;  // LayerNorm
  bool residual = false;
  Values x, skip, gain, bias, sum, y, mean, rstd;

  Case(tests::Dice& dice, bool is_centred, bool has_residual)
      : centred(is_centred),
        residual(has_residual),
        x(random_values(dice, rows * cols)),
        skip(random_values(dice, rows * cols)),
        gain(random_values(dice, cols)),
        bias(random_values(dice, cols)),
        sum(x),
        y(x.size()),
        mean(static_cast<std::size_t>(rows)),
        rstd(mean) {}

  void forward() {
    kernels::norm_forward_reference({.x = x.data(),
                                     .residual = residual ? skip.data() : nullptr,
                                     .sum = residual ? sum.data() : nullptr,
                                     .gain = gain.data(),
                                     .bias = centred ? bias.data() : nullptr,
                                     .y = y.data(),
                                     .mean = centred ? mean.data() : nullptr,
                                     .rstd = rstd.data(),
                                     .rows = rows,
                                     .cols = cols,
                                     .type = DataType::fp64});
  }
  [[nodiscard]] const Values& normalised() const { return residual ? sum : x; }
};

}  // namespace

TEST_CASE("rows that are normalised have mean 0 and variance 1; RMSNorm's squares average 1",
          "[kernels][norm]") {
  tests::Dice dice(1);
  for (const bool centred : {false, true}) {
    Case norm(dice, centred, false);
    norm.gain.assign(norm.gain.size(), 1.0);
    norm.bias.assign(norm.bias.size(), 0.0);
    for (double& x : norm.x) {
      x = 100.0 * x + 50.0;  // epsilon is small against the variance
    }
    norm.forward();
    for (std::int64_t row = 0; row < norm.rows; ++row) {
      const auto first = norm.y.begin() + row * norm.cols;
      const Values y(first, first + norm.cols);
      if (centred) {
        CHECK(tests::dot(y, Values(y.size(), 1.0)) == Approx(0.0).margin(1e-9));
      }
      CHECK(tests::dot(y, y) / static_cast<double>(norm.cols) == Approx(1.0).epsilon(1e-6));
    }
  }
}

TEST_CASE("a residual is added before the norm, and the sum is kept", "[kernels][norm]") {
  tests::Dice dice(2);
  for (const bool centred : {false, true}) {
    Case norm(dice, centred, true);
    norm.forward();
    Values z;
    for (std::size_t i = 0; i < norm.x.size(); ++i) {
      z.push_back(norm.x.at(i) + norm.skip.at(i));
    }
    CHECK(norm.sum == z);
    const Values y = norm.y;
    norm.x = z;
    norm.residual = false;
    norm.forward();
    CHECK(norm.y == y);
  }
}

TEST_CASE("gradients of the norm are those of central differences", "[kernels][norm]") {
  tests::Dice dice(3);
  for (const bool centred : {false, true}) {
    for (const bool residual : {false, true}) {
      CAPTURE(centred, residual);
      Case norm(dice, centred, residual);
      const Values dy = random_values(dice, norm.rows * norm.cols);
      const Values dresidual = random_values(dice, norm.rows * norm.cols);
      // z reaches the loss through the norm and, where there is a residual, past it too.
      const auto loss = [&] {
        norm.forward();
        return tests::dot(norm.y, dy) + (residual ? tests::dot(norm.normalised(), dresidual) : 0.0);
      };
      const Values expected_dx = tests::central_differences(norm.x, loss);
      const Values expected_dgain = tests::central_differences(norm.gain, loss);
      const Values expected_dbias = tests::central_differences(norm.bias, loss);
      norm.forward();
      Values dx(norm.x.size());
      Values dgain(norm.gain.size(), 5.0);  // gradients are added to what is there
      Values dbias(norm.bias.size(), 5.0);
      kernels::norm_backward_reference({.dy = dy.data(),
                                        .z = norm.normalised().data(),
                                        .gain = norm.gain.data(),
                                        .mean = centred ? norm.mean.data() : nullptr,
                                        .rstd = norm.rstd.data(),
                                        .dresidual = residual ? dresidual.data() : nullptr,
                                        .dx = dx.data(),
                                        .dgain = dgain.data(),
                                        .dbias = centred ? dbias.data() : nullptr,
                                        .rows = norm.rows,
                                        .cols = norm.cols,
                                        .type = DataType::fp64});
      for (double& gradient : dgain) {
        gradient -= 5.0;
      }
      for (double& gradient : dbias) {
        gradient -= 5.0;
      }
      CHECK(max_difference(dx, expected_dx) < tests::kDifferencesError);
      CHECK(max_difference(dgain, expected_dgain) < tests::kDifferencesError);
      CHECK(max_difference(dbias, centred ? expected_dbias : Values(dbias.size())) <
            tests::kDifferencesError);
    }
  }
}

TEST_CASE("a bf16 norm is the fp64 norm of its inputs, rounded once", "[kernels][norm]") {
  tests::Dice dice(4);
  Case norm(dice, true, false);
  const auto x = tests::converted<kernels::BFloat16>(norm.x);
  const auto gain = tests::converted<kernels::BFloat16>(norm.gain);
  const auto bias = tests::converted<kernels::BFloat16>(norm.bias);
  std::vector<kernels::BFloat16> y(x.size());
  std::vector<float> mean(3);
  std::vector<float> rstd(3);
  kernels::norm_forward_reference({.x = x.data(),
                                   .gain = gain.data(),
                                   .bias = bias.data(),
                                   .y = y.data(),
                                   .mean = mean.data(),
                                   .rstd = rstd.data(),
                                   .rows = norm.rows,
                                   .cols = norm.cols,
                                   .type = DataType::bf16});
  norm.x = tests::converted<double>(x);
  norm.gain = tests::converted<double>(gain);
  norm.bias = tests::converted<double>(bias);
  norm.forward();
  const double half_ulp = 0x1p-8;  // relative, of bf16
  for (std::size_t i = 0; i < y.size(); ++i) {
    CHECK(std::abs(static_cast<double>(y.at(i)) - norm.y.at(i)) <=
          half_ulp * std::abs(norm.y.at(i)) * 1.001 + 1e-6);
  }
}
