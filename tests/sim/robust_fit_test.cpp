#include "sim/robust_fit.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"

#include <cmath>
#include <vector>

namespace runflat::sim {
namespace {

const std::vector<double> kPlaces = {0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0};

/// Residuals of y = a exp(-b t), relative.
Residuals decay(std::vector<double> measured) {
  return [measured = std::move(measured)](const std::vector<double>& x) {
    std::vector<double> residuals;
    for (std::size_t i = 0; i < kPlaces.size(); ++i) {
      residuals.push_back(x[0] * std::exp(-x[1] * kPlaces[i]) / measured[i] - 1.0);
    }
    return residuals;
  };
}

std::vector<double> samples(double a, double b) {
  std::vector<double> values;
  for (const double t : kPlaces) {
    values.push_back(a * std::exp(-b * t));
  }
  return values;
}

const std::vector<double> kEqual(kPlaces.size(), 1.0);

TEST_CASE("a robust fit recovers the variables of exact samples", "[sim][fit]") {
  const std::vector<double> x = fit_robustly(
      {{1.0, 0.01, 100.0}, {1.0, 0.01, 100.0}}, kEqual, 0.02, decay(samples(3.0, 0.4)));
  CHECK(x[0] == Approx(3.0).epsilon(1e-5));
  CHECK(x[1] == Approx(0.4).epsilon(1e-5));
}

TEST_CASE("one wrong sample does not move a robust fit", "[sim][fit]") {
  std::vector<double> measured = samples(3.0, 0.4);
  measured[3] *= 2.0;
  const std::vector<FitVariable> start = {{1.0, 0.01, 100.0}, {1.0, 0.01, 100.0}};
  const std::vector<double> x = fit_robustly(start, kEqual, 1e-4, decay(measured));
  CHECK(x[0] == Approx(3.0).epsilon(1e-3));
  CHECK(x[1] == Approx(0.4).epsilon(1e-3));
}

TEST_CASE("a sample of weight 0 does not count", "[sim][fit]") {
  std::vector<double> measured = samples(3.0, 0.4);
  std::vector<double> weights = kEqual;
  measured[0] *= 1.5;
  weights[0] = 0.0;
  const std::vector<FitVariable> start = {{1.0, 0.01, 100.0}, {1.0, 0.01, 100.0}};
  const std::vector<double> x = fit_robustly(start, weights, 1.0, decay(measured));
  CHECK(x[0] == Approx(3.0).epsilon(1e-5));
  CHECK(x[1] == Approx(0.4).epsilon(1e-5));
}

TEST_CASE("limits hold, and what no residual depends on stays", "[sim][fit]") {
  const Residuals residuals = [](const std::vector<double>& x) {
    return std::vector<double>{x[0] / 5.0 - 1.0};
  };
  const std::vector<double> x =
      fit_robustly({{1.0, 0.5, 2.0}, {7.0, 0.1, 10.0}}, {1.0}, 0.02, residuals);
  CHECK(x[0] == Approx(2.0));
  CHECK(x[1] == 7.0);
  CHECK_THROWS_AS(fit_robustly({{0.0, 0.0, 1.0}}, {1.0}, 0.02, residuals), InvalidArgument);
}

}  // namespace
}  // namespace runflat::sim
