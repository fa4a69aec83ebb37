#include "core/error.hpp"
#include "sim/step_fit.hpp"
#include "sim/validation.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace runflat::sim {
namespace {

constexpr std::array<std::pair<std::string_view, GroupKey>, 6> kGroupKeys = {
    {{"model", GroupKey::model},
     {"hardware", GroupKey::hardware},
     {"framework", GroupKey::framework},
     {"precision", GroupKey::precision},
     {"gpus", GroupKey::gpus},
     {"table", GroupKey::table}}};

Value summary_value(const std::string& name, const std::vector<const PredictedStep*>& rows) {
  const ErrorSummary error = summarize(rows);
  Value value;
  value.set("name", name);
  value.set("num_rows", static_cast<std::int64_t>(error.num_rows));
  value.set("mape", error.mean_absolute);
  value.set("max", error.max_absolute);
  value.set("bias", error.bias);
  value.set("spearman", error.spearman);
  value.set("regret", error.regret);
  value.set("baseline_mape", error.baseline_mean_absolute);
  value.set("baseline_max", error.baseline_max_absolute);
  return value;
}

Value row_value(const PredictedStep& row) {
  Value value;
  value.set("id", row.measured.id);
  value.set("model", row.measured.model_name);
  value.set("gpu", row.measured.gpu);
  value.set("release", row.measured.release);
  value.set("measured_s", row.measured.seconds);
  value.set("predicted_s", row.seconds);
  value.set("error", row.error());
  value.set("note", row.note);
  return value;
}

Value skipped_value(const std::vector<SkippedStep>& rows) {
  Value::Array skipped;
  for (const SkippedStep& row : rows) {
    Value value;
    value.set("id", row.id);
    value.set("reason", row.reason);
    skipped.push_back(std::move(value));
  }
  return Value(std::move(skipped));
}

/// Mean absolute error of the rows of one group; null where it has none.
Value mean_error(const std::vector<RowGroup>& groups, const std::string& name) {
  const auto group = std::find_if(groups.begin(), groups.end(), [&](const RowGroup& candidate) {
    return candidate.name == name;
  });
  return group == groups.end() ? Value() : Value(summarize(group->rows).mean_absolute);
}

Value number_value(const FittedValue& fitted) {
  Value value;
  value.set("file", fitted.number.file);
  value.set("key", fitted.number.key);
  value.set("shipped", fitted.before);
  value.set("fitted", fitted.after);
  return value;
}

}  // namespace

GroupKey group_key_named(const std::string& name, std::string_view option) {
  std::string known;
  for (const auto& [key_name, key] : kGroupKeys) {
    if (key_name == name) {
      return key;
    }
    known += (known.empty() ? "" : ", ") + std::string(key_name);
  }
  throw ParseError(option, "", "expected some of " + known + ", found '" + name + "'");
}

Value to_value(const Validation& validation, const std::vector<GroupKey>& by) {
  Value::Array groups;
  for (const RowGroup& group : group_rows(validation, by)) {
    groups.push_back(summary_value(group.name, group.rows));
  }
  std::vector<const PredictedStep*> all;
  Value::Array rows;
  for (const PredictedStep& row : validation.predicted) {
    all.push_back(&row);
    rows.push_back(row_value(row));
  }
  Value value;
  value.set("schema", 1);
  value.set("groups", Value(std::move(groups)));
  value.set("all", summary_value("all", all));
  value.set("rows", Value(std::move(rows)));
  value.set("skipped", skipped_value(validation.skipped));
  return value;
}

Value to_value(const CrossValidation& result, const std::vector<GroupKey>& by) {
  const std::vector<RowGroup> shipped = group_rows(result.shipped, by);
  const std::vector<RowGroup> fitted = group_rows(result.fitted, by);
  const std::vector<RowGroup> left_out = group_rows(result.left_out, by);
  Value::Array groups;
  for (const RowGroup& group : shipped) {
    Value value;
    value.set("name", group.name);
    value.set("num_rows", static_cast<std::int64_t>(group.rows.size()));
    value.set("mape_shipped", mean_error(shipped, group.name));
    value.set("mape_fitted", mean_error(fitted, group.name));
    value.set("mape_left_out", mean_error(left_out, group.name));
    groups.push_back(std::move(value));
  }
  Value::Array numbers;
  for (const FittedValue& number : result.numbers) {
    numbers.push_back(number_value(number));
  }
  Value value;
  value.set("schema", 1);
  value.set("num_folds", static_cast<std::int64_t>(result.num_folds));
  value.set("num_rows", static_cast<std::int64_t>(result.fitted.predicted.size()));
  value.set("groups", Value(std::move(groups)));
  value.set("numbers", Value(std::move(numbers)));
  value.set("skipped", skipped_value(result.left_out.skipped));
  return value;
}

}  // namespace runflat::sim
