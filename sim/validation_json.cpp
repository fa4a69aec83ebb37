#include "core/error.hpp"
#include "sim/validation.hpp"

#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace runflat::sim {
namespace {

constexpr std::array<std::pair<std::string_view, GroupKey>, 5> kGroupKeys = {
    {{"model", GroupKey::model},
     {"hardware", GroupKey::hardware},
     {"framework", GroupKey::framework},
     {"precision", GroupKey::precision},
     {"gpus", GroupKey::gpus}}};

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

}  // namespace

GroupKey group_key_named(const std::string& name) {
  std::string known;
  for (const auto& [key_name, key] : kGroupKeys) {
    if (key_name == name) {
      return key;
    }
    known += (known.empty() ? "" : ", ") + std::string(key_name);
  }
  throw ParseError("by", "", "expected some of " + known + ", found '" + name + "'");
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
  Value::Array skipped;
  for (const SkippedStep& row : validation.skipped) {
    Value value;
    value.set("id", row.id);
    value.set("reason", row.reason);
    skipped.push_back(std::move(value));
  }
  Value value;
  value.set("schema", 1);
  value.set("groups", Value(std::move(groups)));
  value.set("all", summary_value("all", all));
  value.set("rows", Value(std::move(rows)));
  value.set("skipped", Value(std::move(skipped)));
  return value;
}

}  // namespace runflat::sim
