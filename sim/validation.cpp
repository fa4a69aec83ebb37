#include "sim/validation.hpp"

#include "sim/step_cost.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <numeric>
#include <utility>

namespace runflat::sim {
namespace {

void predict(const MeasuredStep& step, HardwareSet& hardware, Validation& result) {
  const HardwareName wanted{step.gpu, step.release};
  const HardwareParameters* on = hardware.find(wanted);
  if (on == nullptr) {
    result.skipped.push_back(
        {step.id, fmt::format("no parameters for {}; known: {}", wanted.str(), hardware.known())});
    return;
  }
  const Expected<StepCost, Infeasible> cost = step_cost(step.model, step.query, *on);
  if (!cost) {
    result.skipped.push_back({step.id, cost.error().reason});
    return;
  }
  PredictedStep row{step, cost->step_time.count(), 0.0, {}};
  row.model_flops = cost->model_flops_rate.value * row.seconds;
  if (on->release != wanted.release) {
    row.note = fmt::format("release {} priced as {}", wanted.release, on->release);
  }
  result.predicted.push_back(std::move(row));
}

std::vector<double> mean_ranks(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return values[a] < values[b];
  });
  std::vector<double> ranks(values.size());
  for (std::size_t first = 0; first < order.size();) {
    std::size_t last = first + 1;
    while (last < order.size() && values[order[last]] == values[order[first]]) {
      ++last;
    }
    const double rank = 0.5 * static_cast<double>(first + last - 1);
    for (; first < last; ++first) {
      ranks[order[first]] = rank;
    }
  }
  return ranks;
}

double median(std::vector<double> values) {
  const std::size_t middle = values.size() / 2;
  std::sort(values.begin(), values.end());
  return values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

void add_baseline(const std::vector<const PredictedStep*>& rows, ErrorSummary& summary) {
  std::vector<double> rates;
  for (const PredictedStep* row : rows) {
    rates.push_back(row->model_flops / row->measured.seconds);
  }
  const double rate = median(std::move(rates));
  for (const PredictedStep* row : rows) {
    const double error = std::abs(row->model_flops / rate / row->measured.seconds - 1.0);
    summary.baseline_mean_absolute += error / static_cast<double>(rows.size());
    summary.baseline_max_absolute = std::max(summary.baseline_max_absolute, error);
  }
}

}  // namespace

std::string group_of(const MeasuredStep& step, GroupKey key) {
  switch (key) {
    case GroupKey::model:
      return step.model_name;
    case GroupKey::hardware:
      return step.gpu;
    case GroupKey::framework:
      return step.release;
    case GroupKey::precision:
      return step.query.precision == Precision::fp8    ? "fp8"
             : step.query.precision == Precision::fp16 ? "fp16"
                                                       : "bf16";
    case GroupKey::gpus:
      return std::to_string(step.query.gpus());
    case GroupKey::table:
      return step.table;
  }
  return {};
}

Validation validate(const StepTable& table) {
  HardwareSet hardware;
  return validate(table, hardware);
}

Validation validate(const StepTable& table, HardwareSet& hardware) {
  Validation result;
  result.skipped = table.skipped;
  for (const MeasuredStep& step : table.steps) {
    predict(step, hardware, result);
  }
  return result;
}

ErrorSummary summarize(const std::vector<const PredictedStep*>& rows) {
  ErrorSummary summary;
  summary.num_rows = rows.size();
  if (rows.empty()) {
    return summary;
  }
  std::vector<double> predicted;
  std::vector<double> measured;
  for (const PredictedStep* row : rows) {
    const double error = row->error();
    summary.mean_absolute += std::abs(error) / static_cast<double>(rows.size());
    summary.max_absolute = std::max(summary.max_absolute, std::abs(error));
    summary.bias += error / static_cast<double>(rows.size());
    predicted.push_back(row->seconds);
    measured.push_back(row->measured.seconds);
  }
  summary.spearman = spearman(predicted, measured);
  const auto chosen = std::min_element(predicted.begin(), predicted.end()) - predicted.begin();
  const double best = *std::min_element(measured.begin(), measured.end());
  summary.regret = measured[static_cast<std::size_t>(chosen)] / best - 1.0;
  add_baseline(rows, summary);
  return summary;
}

std::vector<RowGroup> group_rows(const Validation& validation, const std::vector<GroupKey>& by) {
  std::vector<RowGroup> groups;
  std::map<std::string, std::size_t> index;
  for (const PredictedStep& row : validation.predicted) {
    std::string name;
    for (const GroupKey key : by) {
      name += (name.empty() ? "" : " / ") + group_of(row.measured, key);
    }
    const auto [place, is_new] = index.emplace(name, groups.size());
    if (is_new) {
      groups.push_back({name, {}});
    }
    groups[place->second].rows.push_back(&row);
  }
  return groups;
}

double spearman(const std::vector<double>& a, const std::vector<double>& b) {
  const std::vector<double> ra = mean_ranks(a);
  const std::vector<double> rb = mean_ranks(b);
  const double mean = 0.5 * (static_cast<double>(a.size()) - 1.0);
  double product = 0.0;
  double square_a = 0.0;
  double square_b = 0.0;
  for (std::size_t i = 0; i < ra.size(); ++i) {
    product += (ra[i] - mean) * (rb[i] - mean);
    square_a += (ra[i] - mean) * (ra[i] - mean);
    square_b += (rb[i] - mean) * (rb[i] - mean);
  }
  const double scale = std::sqrt(square_a * square_b);
  return scale > 0.0 ? product / scale : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace runflat::sim
