#pragma once

#include <functional>
#include <vector>

namespace runflat::sim {

/// What `fit_robustly` may change, and between which values.
struct FitVariable {
  double value = 0.0;  ///< above 0: steps are relative
  double least = 0.0;
  double most = 0.0;
};

/// Residuals of values of the variables: always as many, in the same order.
using Residuals = std::function<std::vector<double>(const std::vector<double>&)>;

/// Levenberg-Marquardt on the logarithms of the variables, with a derivative by differences. Beyond
/// `threshold` a residual counts by its size instead of its square (Huber's loss, by reweighted
/// least squares), so that a few wrong measurements do not decide. A variable that no residual
/// depends on keeps its value. Deterministic; ends when a step lowers the loss by no more than 1e-5
/// of itself, or after 200 steps. `weights`: how much each residual counts. InvalidArgument for a
/// variable that is not above 0.
[[nodiscard]] std::vector<double> fit_robustly(const std::vector<FitVariable>& start,
                                               const std::vector<double>& weights,
                                               double threshold,
                                               const Residuals& residuals);

}  // namespace runflat::sim
