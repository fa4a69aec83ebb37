#pragma once

#include "sim/hardware_set.hpp"
#include "sim/step_data.hpp"
#include "sim/validation.hpp"

#include <cstddef>
#include <vector>

namespace runflat::sim {

/// A fitted number before and after a fit, in the unit of its file.
struct FittedValue {
  FittedParameter number;
  double before = 0.0;
  double after = 0.0;
};

/// Fits the fitted numbers of the rows' parameter files to the rows, all at once, and leaves the
/// results in `hardware`: the least Huber loss of predicted over measured minus 1, which counts
/// errors above 2 % by their size. A model of n rows counts by sqrt(n), whatever its name. Returns
/// the numbers that some row depends on; the others keep their values. Rows that cannot be priced
/// are left out.
std::vector<FittedValue> fit_steps(const std::vector<MeasuredStep>& rows, HardwareSet& hardware);

/// How predictions fare with rows that their numbers were not fitted to.
struct CrossValidation {
  Validation shipped;                ///< numbers as in the parameter files
  Validation fitted;                 ///< numbers fitted to all rows
  Validation left_out;               ///< numbers fitted to the rows of all other folds
  std::vector<FittedValue> numbers;  ///< of the fit to all rows
  std::size_t num_folds = 0;
};

/// Leaves one value of `key` out at a time; a model is its shape, whatever its name. A row that
/// depends on a number that no other fold's row depends on is in `left_out.skipped`.
[[nodiscard]] CrossValidation cross_validate(const StepTable& table, GroupKey key);

/// The document that `runflat validate --leave-out` writes: errors of each group, the numbers, and
/// the rows that have no left-out prediction.
[[nodiscard]] Value to_value(const CrossValidation& result, const std::vector<GroupKey>& by);

}  // namespace runflat::sim
