#include "sim/robust_fit.hpp"

#include "core/error.hpp"

#include <Eigen/Dense>

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace runflat::sim {
namespace {

constexpr double kDifference = 1e-5;  // of ln x: far above rounding, far below curvature
constexpr double kConverged = 1e-5;   // share of the loss that a step takes off
constexpr int kMostSteps = 200;
constexpr double kMostDamping = 1e10;

Eigen::Index index(std::size_t i) {
  return static_cast<Eigen::Index>(i);
}

/// d residual / d ln x, one column a variable.
Eigen::MatrixXd jacobian(const Residuals& residuals, const std::vector<double>& x) {
  Eigen::MatrixXd result;
  for (std::size_t v = 0; v < x.size(); ++v) {
    std::vector<double> moved = x;
    moved[v] = x[v] * std::exp(kDifference);
    const std::vector<double> above = residuals(moved);
    moved[v] = x[v] * std::exp(-kDifference);
    const std::vector<double> below = residuals(moved);
    if (v == 0) {
      result.resize(index(above.size()), index(x.size()));
    }
    for (std::size_t r = 0; r < above.size(); ++r) {
      result(index(r), index(v)) = (above[r] - below[r]) / (2.0 * kDifference);
    }
  }
  return result;
}

/// r^2 / (2 threshold) up to the threshold, |r| - threshold / 2 from there.
double robust_loss(const std::vector<double>& residuals,
                   const std::vector<double>& weights,
                   double threshold) {
  double loss = 0.0;
  for (std::size_t r = 0; r < residuals.size(); ++r) {
    const double size = std::abs(residuals[r]);
    loss +=
        weights[r] * (size <= threshold ? size * size / (2.0 * threshold) : size - threshold / 2.0);
  }
  return loss;
}

/// The least squares that has the gradient of Huber's loss: each residual by its weight.
struct NormalEquations {
  NormalEquations(const Eigen::MatrixXd& slopes,
                  const std::vector<double>& residuals,
                  const std::vector<double>& weights,
                  double threshold) {
    const Eigen::Map<const Eigen::VectorXd> r(residuals.data(), index(residuals.size()));
    const Eigen::Map<const Eigen::VectorXd> w(weights.data(), index(weights.size()));
    const Eigen::VectorXd scale = w.cwiseQuotient(r.cwiseAbs().cwiseMax(threshold));
    curvature = slopes.transpose() * scale.asDiagonal() * slopes;
    gradient = slopes.transpose() * scale.cwiseProduct(r);
  }

  [[nodiscard]] Eigen::VectorXd step(double damping) const {
    Eigen::MatrixXd damped = curvature;
    for (Eigen::Index v = 0; v < damped.rows(); ++v) {
      const double own = curvature(v, v);
      damped(v, v) = own > 0.0 ? own * (1.0 + damping) : 1.0;
    }
    return -damped.ldlt().solve(gradient);
  }

  Eigen::MatrixXd curvature;
  Eigen::VectorXd gradient;
};

std::vector<double> moved_by(const std::vector<double>& x,
                             const Eigen::VectorXd& step,
                             const std::vector<FitVariable>& limits) {
  std::vector<double> moved = x;
  for (std::size_t v = 0; v < x.size(); ++v) {
    const double factor = std::exp(std::clamp(step(index(v)), -1.0, 1.0));
    moved[v] = std::clamp(x[v] * factor, limits[v].least, limits[v].most);
  }
  return moved;
}

}  // namespace

std::vector<double> fit_robustly(const std::vector<FitVariable>& start,
                                 const std::vector<double>& weights,
                                 double threshold,
                                 const Residuals& residuals) {
  std::vector<double> x;
  for (const FitVariable& variable : start) {
    if (variable.value <= 0.0) {
      throw InvalidArgument("a variable to fit must start above 0");
    }
    x.push_back(variable.value);
  }
  std::vector<double> present = residuals(x);
  double loss = robust_loss(present, weights, threshold);
  double damping = 1e-3;
  for (int taken = 0; taken < kMostSteps && !x.empty(); ++taken) {
    const NormalEquations equations(jacobian(residuals, x), present, weights, threshold);
    double gain = 0.0;
    for (bool is_better = false; !is_better && damping <= kMostDamping;) {
      const std::vector<double> tried = moved_by(x, equations.step(damping), start);
      std::vector<double> there = residuals(tried);
      const double tried_loss = robust_loss(there, weights, threshold);
      is_better = tried_loss < loss;
      damping = is_better ? std::max(damping * 0.1, 1e-12) : damping * 10.0;
      if (is_better) {
        gain = loss - tried_loss;
        x = tried;
        present = std::move(there);
        loss = tried_loss;
      }
    }
    if (gain <= kConverged * loss) {
      break;
    }
  }
  return x;
}

}  // namespace runflat::sim
