#include "sim/step_fit.hpp"

#include "sim/robust_fit.hpp"
#include "sim/step_cost.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <iterator>
#include <map>
#include <string>
#include <utility>

namespace runflat::sim {
namespace {

constexpr double kThreshold =
    0.02;  // steps of one configuration differ by about 2 % from run to run
constexpr double kNudge = 1.01;

/// A row that can be priced, with the parameters it is priced with.
struct PricedRow {
  const MeasuredStep* step = nullptr;
  const HardwareParameters* on = nullptr;

  [[nodiscard]] double error() const {
    return step_cost(step->model, step->query, *on)->step_time.count() / step->seconds - 1.0;
  }
};

std::vector<PricedRow> priced_rows(const std::vector<MeasuredStep>& steps, HardwareSet& hardware) {
  std::vector<PricedRow> rows;
  for (const MeasuredStep& step : steps) {
    const HardwareParameters* on = hardware.find({step.gpu, step.release});
    if (on != nullptr && step_cost(step.model, step.query, *on)) {
      rows.push_back({&step, on});
    }
  }
  return rows;
}

std::vector<double> errors(const std::vector<PricedRow>& rows) {
  std::vector<double> result;
  result.reserve(rows.size());
  for (const PricedRow& row : rows) {
    result.push_back(row.error());
  }
  return result;
}

/// Whether each row's prediction moves with a number.
std::vector<bool> dependent_rows(const std::vector<PricedRow>& rows,
                                 const FittedParameter& number,
                                 HardwareSet& hardware) {
  const HardwareNumber old = hardware.number(number);
  const std::vector<double> before = errors(rows);
  hardware.set(number, old.value * (old.value * kNudge <= old.most ? kNudge : 1.0 / kNudge));
  const std::vector<double> after = errors(rows);
  hardware.set(number, old.value);
  std::vector<bool> depends(rows.size());
  for (std::size_t r = 0; r < rows.size(); ++r) {
    depends[r] = before[r] != after[r];
  }
  return depends;
}

/// What a model is, whatever its name.
std::string shape_of(const ModelSpec& model) {
  return fmt::format("{}/{}/{}/{}/{}/{}",
                     model.num_layers,
                     model.hidden_size,
                     model.ffn_hidden_size,
                     model.num_attention_heads,
                     model.num_query_groups,
                     model.padded_vocab_size);
}

/// A model counts by the square root of its rows: between one that was measured under 180 settings
/// counting like 180 models, and like one.
std::vector<double> weights_of(const std::vector<PricedRow>& rows) {
  const auto model_of = [](const PricedRow& row) {
    return row.step->gpu + " " + shape_of(row.step->model);
  };
  std::map<std::string, double> num_rows;
  for (const PricedRow& row : rows) {
    num_rows[model_of(row)] += 1.0;
  }
  std::vector<double> weights;
  weights.reserve(rows.size());
  for (const PricedRow& row : rows) {
    weights.push_back(1.0 / std::sqrt(num_rows[model_of(row)]));
  }
  return weights;
}

std::string fold_of(const MeasuredStep& step, GroupKey key) {
  return key == GroupKey::model ? shape_of(step.model) : group_of(step, key);
}

struct Fold {
  std::vector<MeasuredStep> out;
  std::vector<MeasuredStep> rest;
};

std::vector<Fold> make_folds(const std::vector<MeasuredStep>& steps, GroupKey key) {
  std::map<std::string, Fold> folds;
  for (const MeasuredStep& step : steps) {
    folds[fold_of(step, key)];
  }
  for (const MeasuredStep& step : steps) {
    const std::string own = fold_of(step, key);
    for (auto& [name, fold] : folds) {
      (name == own ? fold.out : fold.rest).push_back(step);
    }
  }
  std::vector<Fold> result;
  for (auto& [name, fold] : folds) {
    result.push_back(std::move(fold));
  }
  return result;
}

bool any(const std::vector<bool>& flags) {
  return std::find(flags.begin(), flags.end(), true) != flags.end();
}

/// Splits rows that depend on a number which no row of `rest` determines from the others.
StepTable determined_rows(const Fold& fold) {
  HardwareSet hardware;
  const std::vector<PricedRow> out = priced_rows(fold.out, hardware);
  const std::vector<PricedRow> rest = priced_rows(fold.rest, hardware);
  std::vector<std::string> reasons(out.size());
  for (const FittedParameter& number : hardware.fitted()) {
    if (any(dependent_rows(rest, number, hardware))) {
      continue;
    }
    const std::vector<bool> depends = dependent_rows(out, number, hardware);
    for (std::size_t r = 0; r < out.size(); ++r) {
      if (depends[r]) {
        reasons[r] = fmt::format("no row that stays depends on {} of {}", number.key, number.file);
      }
    }
  }
  StepTable table;
  for (std::size_t r = 0; r < out.size(); ++r) {
    if (reasons[r].empty()) {
      table.steps.push_back(*out[r].step);
    } else {
      table.skipped.push_back({out[r].step->id, reasons[r]});
    }
  }
  return table;
}

}  // namespace

std::vector<FittedValue> fit_steps(const std::vector<MeasuredStep>& rows, HardwareSet& hardware) {
  const std::vector<PricedRow> priced = priced_rows(rows, hardware);
  std::vector<FittedValue> numbers;
  std::vector<FitVariable> variables;
  for (const FittedParameter& number : hardware.fitted()) {
    if (any(dependent_rows(priced, number, hardware))) {
      const HardwareNumber range = hardware.number(number);
      numbers.push_back({number, range.value, range.value});
      variables.push_back({range.value, range.least, range.most});
    }
  }
  const auto set_all = [&](const std::vector<double>& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      hardware.set(numbers[i].number, values[i]);
    }
  };
  const std::vector<double> values = fit_robustly(
      variables, weights_of(priced), kThreshold, [&](const std::vector<double>& tried) {
        set_all(tried);
        return errors(priced);
      });
  set_all(values);
  for (std::size_t i = 0; i < values.size(); ++i) {
    numbers[i].after = values[i];
  }
  return numbers;
}

CrossValidation cross_validate(const StepTable& table, GroupKey key) {
  CrossValidation result;
  result.shipped = validate(table);
  HardwareSet hardware;
  result.numbers = fit_steps(table.steps, hardware);
  result.fitted = validate(table, hardware);
  result.left_out.skipped = result.fitted.skipped;
  const std::vector<Fold> folds = make_folds(table.steps, key);
  result.num_folds = folds.size();
  for (const Fold& fold : folds) {
    HardwareSet without;
    fit_steps(fold.rest, without);
    Validation part = validate(determined_rows(fold), without);
    std::move(part.predicted.begin(),
              part.predicted.end(),
              std::back_inserter(result.left_out.predicted));
    std::move(
        part.skipped.begin(), part.skipped.end(), std::back_inserter(result.left_out.skipped));
  }
  return result;
}

}  // namespace runflat::sim
