#pragma once

#include "core/value.hpp"
#include "sim/hardware_set.hpp"
#include "sim/step_data.hpp"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace runflat::sim {

/// A measured step beside its prediction.
struct PredictedStep {
  MeasuredStep measured;
  double seconds = 0.0;      ///< predicted
  double model_flops = 0.0;  ///< per GPU and step
  std::string note;          ///< empty, or what was assumed

  [[nodiscard]] double error() const { return seconds / measured.seconds - 1.0; }
};

/// How far predictions are from measurements. Errors are predicted over measured, minus 1.
struct ErrorSummary {
  std::size_t num_rows = 0;
  double mean_absolute = 0.0;
  double max_absolute = 0.0;
  double bias = 0.0;      ///< mean error
  double spearman = 0.0;  ///< rank correlation; NaN below two rows or where all are equal
  double regret = 0.0;    ///< measured time of the predicted best over the measured best, minus 1
  /// The baseline: one rate of model FLOPs per GPU, the median of these rows.
  double baseline_mean_absolute = 0.0;
  double baseline_max_absolute = 0.0;
};

struct Validation {
  std::vector<PredictedStep> predicted;
  std::vector<SkippedStep> skipped;
};

/// What a row may be grouped by.
enum class GroupKey { model, hardware, framework, precision, gpus, table };

/// The name of the group that a row falls into.
[[nodiscard]] std::string group_of(const MeasuredStep& step, GroupKey key);

/// Prices every row with the parameters of its GPU and release, the shipped ones or those of
/// `hardware`. A row that took another release's says so in `note`.
[[nodiscard]] Validation validate(const StepTable& table);
[[nodiscard]] Validation validate(const StepTable& table, HardwareSet& hardware);

[[nodiscard]] ErrorSummary summarize(const std::vector<const PredictedStep*>& rows);

/// Rows of each group, named by its keys joined with ` / `, in order of first appearance.
struct RowGroup {
  std::string name;
  std::vector<const PredictedStep*> rows;
};
[[nodiscard]] std::vector<RowGroup> group_rows(const Validation& validation,
                                               const std::vector<GroupKey>& by);

/// `model`, `hardware`, `framework`, `precision`, `gpus`, `table`; ParseError with these, in the
/// name of `option`, for any other.
[[nodiscard]] GroupKey group_key_named(const std::string& name, std::string_view option);

/// The document that `runflat validate --json` writes: a summary per group, one of all rows, every
/// row, and the rows that were not predicted.
[[nodiscard]] Value to_value(const Validation& validation, const std::vector<GroupKey>& by);

/// Spearman's rank correlation, ties at their mean rank.
[[nodiscard]] double spearman(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace runflat::sim
