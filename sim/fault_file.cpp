#include "sim/fault_file.hpp"

#include "core/document.hpp"
#include "core/reader.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fmt/format.h>
#include <iterator>
#include <optional>
#include <string_view>
#include <vector>

namespace runflat::sim {
namespace {

constexpr std::int64_t kMostNodes = 10'000'000;
constexpr std::int64_t kMostGpusPerNode = 1024;

std::string number(double value) {
  return fmt::format("{:.6g}", value);
}

/// As JSON quotes it, which TOML reads.
std::string toml_text(std::string_view text) {
  std::string json = to_json_text(Value(std::string(text)), -1);
  json.pop_back();  // the line end
  return json;
}

/// Finds numbers and their remarks by name.
class Report {
 public:
  explicit Report(const FailureFit& fit) : fit_(fit) {}

  /// Its value, or zero.
  [[nodiscard]] double value(const std::string& name) const {
    const FittedNumber* const found = find(name);
    return found != nullptr ? found->value : 0.0;
  }

  /// `# 95 %: 1.1 to 2.2`, or nothing.
  [[nodiscard]] std::string interval(const std::string& name) const {
    const FittedNumber* const found = find(name);
    if (found == nullptr || std::isnan(found->low)) {
      return {};
    }
    return fmt::format("  # 95 %: {:.3g} to {:.3g}", found->low, found->high);
  }

  /// `# distance 0.05, p 0.41`, or nothing.
  [[nodiscard]] std::string quality(const std::string& name) const {
    const auto found = std::find_if(fit_.quality.begin(),
                                    fit_.quality.end(),
                                    [&](const FitQuality& item) { return item.name == name; });
    if (found == fit_.quality.end() || std::isnan(found->kolmogorov_smirnov)) {
      return {};
    }
    std::string text =
        fmt::format("  # Kolmogorov-Smirnov distance {:.3f}", found->kolmogorov_smirnov);
    return std::isnan(found->p_value) ? text : text + fmt::format(", p {:.2f}", found->p_value);
  }

 private:
  [[nodiscard]] const FittedNumber* find(const std::string& name) const {
    const auto found = std::find_if(fit_.parameters.begin(),
                                    fit_.parameters.end(),
                                    [&](const FittedNumber& item) { return item.name == name; });
    return found != fit_.parameters.end() ? &*found : nullptr;
  }

  const FailureFit& fit_;
};

std::string law_toml(const LawFit& fit) {
  const std::vector<NamedNumber>& p = fit.parameters;
  if (fit.kind == LawKind::lognormal_mixture) {
    const auto part = [](double weight, const NamedNumber& median, const NamedNumber& sigma) {
      return fmt::format("{{ weight = {}, median_hours = {}, sigma = {} }}",
                         number(weight),
                         number(median.value),
                         number(sigma.value));
    };
    return fmt::format("{{ kind = \"lognormal_mixture\", parts = [{}, {}] }}",
                       part(p.at(0).value, p.at(1), p.at(2)),
                       part(1.0 - p.at(0).value, p.at(3), p.at(4)));
  }
  std::string text = fmt::format("{{ kind = \"{}\"", to_string(fit.kind));
  for (const NamedNumber& parameter : p) {
    text += fmt::format(", {} = {}", parameter.name, number(parameter.value));
  }
  return text + " }";
}

std::string sizes_toml(const std::vector<double>& weights) {
  std::string text;
  for (const double weight : weights) {
    text += (text.empty() ? "" : ", ") + number(std::max(weight, 0.0));
  }
  return text;
}

void append_class(std::string& text,
                  const FailureClass& failure_class,
                  const std::vector<LawFit>& laws,
                  const Report& report) {
  const std::string prefix = failure_class.name + ": ";
  const auto out = std::back_inserter(text);
  fmt::format_to(out, "\n[[failures.class]]\nname = {}\n", toml_text(failure_class.name));
  fmt::format_to(out, "blast_radius = \"{}\"\n", to_string(failure_class.blast_radius));
  fmt::format_to(out,
                 "rate_per_1000_node_days = {}{}\n",
                 number(1000.0 * failure_class.rate_per_node_day),
                 report.interval(prefix + "rate_per_1000_node_days"));
  fmt::format_to(out,
                 "arrival_shape = {}{}\n",
                 number(failure_class.arrival_shape),
                 report.interval(prefix + "arrival_shape"));
  fmt::format_to(out,
                 "repair = {}{}\n",
                 laws.empty() ? "{ kind = \"constant\", value_hours = 0 }" : law_toml(laws.front()),
                 laws.empty() ? "  # none in the trace" : report.quality(prefix + "repair"));
  if (failure_class.refault.probability > 0.0) {
    fmt::format_to(
        out,
        "refault = {{ probability = {}, delay = {{ kind = \"lognormal\", median_hours = {}, "
        "sigma = {} }} }}\n",
        number(failure_class.refault.probability),
        number(report.value("refault.median_hours")),
        number(report.value("refault.sigma")));
  }
  if (!failure_class.batches.weights.empty()) {
    fmt::format_to(out,
                   "batches = {{ sizes = [{}], within_seconds = {} }}\n",
                   sizes_toml(failure_class.batches.weights),
                   number(failure_class.batches.spread.count()));
  }
}

Value statistics_value(const TraceStatistics& statistics) {
  const auto optional = [](std::optional<double> x) { return x ? Value(*x) : Value(); };
  Value::Array batches;
  for (const std::size_t num : statistics.batches) {
    batches.emplace_back(static_cast<std::int64_t>(num));
  }
  return Value::Object{{"num_faults", static_cast<std::int64_t>(statistics.num_faults)},
                       {"rate_per_1000_node_days", statistics.rate_per_1000_node_days},
                       {"gap_variation", statistics.gap_variation},
                       {"gap_weibull_shape", statistics.gap_weibull_shape},
                       {"weekly_fano", statistics.weekly_fano},
                       {"node_count_mean", statistics.node_count_mean},
                       {"node_count_variance", statistics.node_count_variance},
                       {"node_size_by_moments", optional(statistics.node_size_by_moments)},
                       {"node_size_by_likelihood", optional(statistics.node_size_by_likelihood)},
                       {"refault_share", statistics.refault_share},
                       {"batches", std::move(batches)}};
}

}  // namespace

FaultFile read_fault_file(const Reader& place) {
  ObjectReader in = place.object();
  static_cast<void>(in.at("schema").integer(1, 1));
  const Reader cluster = in.at("cluster");
  ObjectReader members = cluster.object();
  FaultFile file;
  file.shape.num_nodes = static_cast<std::int32_t>(members.at("num_nodes").integer(1, kMostNodes));
  file.shape.gpus_per_node =
      static_cast<std::int32_t>(members.at("gpus_per_node").integer(1, kMostGpusPerNode));
  file.shape.domain_size =
      read_or(members, "domain_size", file.shape.gpus_per_node, [](const Reader& value) {
        return value.integer(1, kMostNodes);
      });
  members.finish();
  if (std::int64_t{file.shape.num_nodes} * file.shape.gpus_per_node > kMostNodes * 100) {
    cluster.reject("expected at most 1e9 GPUs");
  }
  file.model = read_failure_model(in.at("failures"), file.shape);
  in.finish();
  return file;
}

std::string fault_file_toml(const FailureFit& fit, const ClusterShape& shape) {
  const Report report{fit};
  std::string text = fmt::format(
      "# Fitted by `runflat faults fit` to {} faults of {} nodes in {} days. A scenario takes "
      "this\n"
      "# file with `include = \"...\"` in its table `failures`.\n"
      "schema = 1\n\n"
      "[cluster]\nnum_nodes = {}\ngpus_per_node = {}\ndomain_size = {}\n\n[failures]\n",
      fit.statistics.num_faults,
      shape.num_nodes,
      number(fit.observed.count()),
      shape.num_nodes,
      shape.gpus_per_node,
      shape.domain_size);
  if (fit.model.node_rate_shape) {
    text += fmt::format("node_rate_shape = {}{}\n",
                        number(*fit.model.node_rate_shape),
                        report.interval("node_rate_shape"));
  }
  for (std::size_t i = 0; i < fit.model.classes.size(); ++i) {
    append_class(text, fit.model.classes[i], fit.repairs[i], report);
  }
  return text;
}

Value to_value(const FailureFit& fit) {
  Value::Array parameters;
  for (const FittedNumber& parameter : fit.parameters) {
    parameters.emplace_back(Value::Object{{"name", parameter.name},
                                          {"value", parameter.value},
                                          {"low", parameter.low},
                                          {"high", parameter.high}});
  }
  Value::Array quality;
  for (const FitQuality& item : fit.quality) {
    quality.emplace_back(Value::Object{{"name", item.name},
                                       {"kolmogorov_smirnov", item.kolmogorov_smirnov},
                                       {"p_value", item.p_value}});
  }
  Value::Array repairs;
  for (std::size_t i = 0; i < fit.repairs.size(); ++i) {
    Value::Array laws;
    for (const LawFit& law : fit.repairs[i]) {
      laws.emplace_back(Value::Object{{"kind", std::string(to_string(law.kind))},
                                      {"aic", law.aic},
                                      {"kolmogorov_smirnov", law.kolmogorov_smirnov}});
    }
    repairs.emplace_back(
        Value::Object{{"class", fit.model.classes[i].name}, {"laws", std::move(laws)}});
  }
  return Value::Object{{"schema", 1},
                       {"observed_days", fit.observed.count()},
                       {"statistics", statistics_value(fit.statistics)},
                       {"parameters", std::move(parameters)},
                       {"quality", std::move(quality)},
                       {"repairs", std::move(repairs)}};
}

}  // namespace runflat::sim
