#include "sim/law_fit.hpp"

#include "core/error.hpp"

#include <boost/math/tools/minima.hpp>
#include <boost/math/tools/roots.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <numeric>
#include <tuple>
#include <utility>

namespace runflat::sim {
namespace {

double mean(std::span<const double> numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), 0.0) / static_cast<double>(numbers.size());
}

/// A weighted normal law of the logarithms of spans.
struct LogPart {
  double weight = 1.0;
  double mean = 0.0;
  double sigma = 1.0;

  [[nodiscard]] double density(double x) const {
    const double z = (x - mean) / sigma;
    return weight * std::exp(-0.5 * z * z) / (sigma * std::sqrt(2.0 * std::numbers::pi));
  }
};
using LogParts = std::array<LogPart, 2>;

constexpr double kLeastSigma = 0.2;

LogPart weighted_part(std::span<const double> logs, std::span<const double> weights) {
  double total = 0.0;
  double sum = 0.0;
  double squares = 0.0;
  for (std::size_t i = 0; i < logs.size(); ++i) {
    total += weights[i];
    sum += weights[i] * logs[i];
    squares += weights[i] * logs[i] * logs[i];
  }
  const double centre = sum / total;
  const double variance = std::max(squares / total - centre * centre, 0.0);
  return {.weight = total / static_cast<double>(logs.size()),
          .mean = centre,
          .sigma = std::max(std::sqrt(variance), kLeastSigma)};
}

/// Two normal parts of `logs`, the one of the smaller mean first; starts from the lower and the
/// upper half.
std::pair<LogParts, double> fit_parts(std::vector<double> logs) {
  std::sort(logs.begin(), logs.end());
  constexpr int kMostRounds = 1000;
  constexpr double kEnough = 1e-11;  // change of the mean log-likelihood
  std::vector<double> first(logs.size());
  for (std::size_t i = 0; i < logs.size(); ++i) {
    first[i] = 2 * i < logs.size() ? 0.9 : 0.1;
  }
  std::vector<double> second(logs.size());
  LogParts parts;
  double likelihood = -INFINITY;
  for (int round = 0; round < kMostRounds; ++round) {
    std::transform(first.begin(), first.end(), second.begin(), [](double p) { return 1.0 - p; });
    parts = {weighted_part(logs, first), weighted_part(logs, second)};
    double sum = 0.0;
    for (std::size_t i = 0; i < logs.size(); ++i) {
      const double of_first = parts[0].density(logs[i]);
      const double both = std::max(of_first + parts[1].density(logs[i]), 1e-300);
      first[i] = of_first / both;
      sum += std::log(both);
    }
    const double change = sum - likelihood;
    likelihood = sum;
    if (change < kEnough * static_cast<double>(logs.size())) {
      break;
    }
  }
  if (parts[0].mean > parts[1].mean) {
    std::swap(parts[0], parts[1]);
  }
  return {parts, likelihood};
}

Hours hours_of_log(double log_seconds) {
  return Seconds{std::exp(log_seconds)};
}

struct Candidate {
  Distribution law;
  std::vector<NamedNumber> parameters;
  double log_likelihood;
};

Candidate fit_exponential(std::span<const double> seconds) {
  const Seconds scale{mean(seconds)};
  const auto n = static_cast<double>(seconds.size());
  return {Distribution::exponential(scale),
          {{"mean_hours", Hours{scale}.count()}},
          -n * (std::log(scale.count()) + 1.0)};
}

Candidate fit_weibull(std::span<const double> seconds, std::span<const double> logs) {
  const double shape = fit_weibull_shape(seconds);
  // At the maximum scale^shape = mean of x^shape, so the exponents sum to -n.
  const double largest = *std::max_element(logs.begin(), logs.end());
  double sum = 0.0;
  for (const double log : logs) {
    sum += std::exp(shape * (log - largest));
  }
  const auto n = static_cast<double>(seconds.size());
  const double log_scale = largest + std::log(sum / n) / shape;
  const double log_likelihood =
      n * (std::log(shape) - shape * log_scale - 1.0) + (shape - 1.0) * n * mean(logs);
  return {Distribution::weibull(shape, Seconds{std::exp(log_scale)}),
          {{"shape", shape}, {"scale_hours", hours_of_log(log_scale).count()}},
          log_likelihood};
}

Candidate fit_lognormal(std::span<const double> logs) {
  const std::vector<double> ones(logs.size(), 1.0);
  const LogPart part = weighted_part(logs, ones);
  double log_likelihood = 0.0;
  for (const double log : logs) {
    const double z = (log - part.mean) / part.sigma;
    log_likelihood -= 0.5 * z * z + std::log(part.sigma * std::sqrt(2.0 * std::numbers::pi)) + log;
  }
  return {Distribution::lognormal(hours_of_log(part.mean), part.sigma),
          {{"median_hours", hours_of_log(part.mean).count()}, {"sigma", part.sigma}},
          log_likelihood};
}

Candidate fit_lognormal_mixture(std::span<const double> logs) {
  const auto [parts, likelihood] = fit_parts({logs.begin(), logs.end()});
  const auto& [fast, slow] = parts;
  const auto to_lognormal = [](const LogPart& part) {
    return LognormalPart{
        .weight = part.weight, .median = hours_of_log(part.mean), .sigma = part.sigma};
  };
  return {Distribution::lognormal_mixture({to_lognormal(fast), to_lognormal(slow)}),
          {{"weight_fast", fast.weight},
           {"fast_median_hours", hours_of_log(fast.mean).count()},
           {"fast_sigma", fast.sigma},
           {"slow_median_hours", hours_of_log(slow.mean).count()},
           {"slow_sigma", slow.sigma}},
          likelihood - mean(logs) * static_cast<double>(logs.size())};
}

Candidate fit_candidate(LawKind kind, std::span<const double> seconds) {
  std::vector<double> logs(seconds.size());
  std::transform(
      seconds.begin(), seconds.end(), logs.begin(), [](double x) { return std::log(x); });
  switch (kind) {
    case LawKind::exponential:
      return fit_exponential(seconds);
    case LawKind::weibull:
      return fit_weibull(seconds, logs);
    case LawKind::lognormal:
      return fit_lognormal(logs);
    case LawKind::lognormal_mixture:
      return fit_lognormal_mixture(logs);
  }
  return fit_exponential(seconds);
}

}  // namespace

std::string_view to_string(LawKind kind) {
  switch (kind) {
    case LawKind::exponential:
      return "exponential";
    case LawKind::weibull:
      return "weibull";
    case LawKind::lognormal:
      return "lognormal";
    case LawKind::lognormal_mixture:
      return "lognormal_mixture";
  }
  return "";
}

LawFit fit_law(LawKind kind, std::span<const Seconds> spans) {
  require(spans.size() >= 2, "a law needs at least two spans");
  std::vector<double> seconds;
  for (const Seconds span : spans) {
    require(std::isfinite(span.count()) && span > Seconds::zero(), "a span must be above 0");
    seconds.push_back(span.count());
  }
  Candidate found = fit_candidate(kind, seconds);
  LawFit fit{.kind = kind, .law = std::move(found.law), .parameters = std::move(found.parameters)};
  fit.aic = 2.0 * static_cast<double>(fit.parameters.size()) - 2.0 * found.log_likelihood;
  fit.kolmogorov_smirnov =
      kolmogorov_smirnov(std::move(seconds), [&](double x) { return fit.law.cdf(Seconds{x}); });
  return fit;
}

std::vector<LawFit> fit_laws(std::span<const Seconds> spans) {
  constexpr std::size_t kLeastOfMixture = 50;
  std::vector<LawFit> fits;
  for (const LawKind kind : {LawKind::exponential, LawKind::weibull, LawKind::lognormal}) {
    fits.push_back(fit_law(kind, spans));
  }
  if (spans.size() >= kLeastOfMixture) {
    fits.push_back(fit_law(LawKind::lognormal_mixture, spans));
  }
  std::stable_sort(
      fits.begin(), fits.end(), [](const LawFit& a, const LawFit& b) { return a.aic < b.aic; });
  return fits;
}

double fit_weibull_shape(std::span<const double> numbers) {
  std::vector<double> logs;
  for (const double x : numbers) {
    if (x > 0.0) {
      logs.push_back(std::log(x));
    }
  }
  require(logs.size() >= 2, "a Weibull shape needs at least two positive numbers");
  const double largest = *std::max_element(logs.begin(), logs.end());
  const double mean_log = mean(logs);
  // The root of 1/k + mean(ln x) - sum(x^k ln x) / sum(x^k), which falls in k; in ln k.
  const auto slope = [&](double log_shape) {
    const double k = std::exp(log_shape);
    double powers = 0.0;
    double first = 0.0;
    double second = 0.0;
    for (const double log : logs) {
      const double power = std::exp(k * (log - largest));
      powers += power;
      first += power * log;
      second += power * log * log;
    }
    const double tilted = first / powers;
    const double derivative = -1.0 / (k * k) - (second / powers - tilted * tilted);
    return std::make_tuple(1.0 / k + mean_log - tilted, derivative * k);
  };
  const double log_least = std::log(kLeastWeibullShape);
  const double log_most = std::log(kMostWeibullShape);
  if (std::get<0>(slope(log_most)) >= 0.0) {
    return kMostWeibullShape;
  }
  if (std::get<0>(slope(log_least)) <= 0.0) {
    return kLeastWeibullShape;
  }
  constexpr int kBits = 40;
  std::uintmax_t most_rounds = 100;
  return std::exp(boost::math::tools::newton_raphson_iterate(
      slope, 0.0, log_least, log_most, kBits, most_rounds));
}

std::optional<double> fit_negative_binomial_size(std::span<const double> counts) {
  const double average = counts.empty() ? 0.0 : mean(counts);
  if (average <= 0.0) {
    return std::nullopt;
  }
  // sum of ln Gamma(x + k) - ln Gamma(k) + k ln(k / (k + m)) + x ln(m / (k + m)), over -n.
  const auto loss = [&](double log_size) {
    const double k = std::exp(log_size);
    const double base = std::lgamma(k);
    double sum = 0.0;
    for (const double x : counts) {
      sum += x > 0.0 ? std::lgamma(x + k) - base : 0.0;
    }
    const auto n = static_cast<double>(counts.size());
    return -(sum / n + k * std::log(k / (k + average)) +
             average * std::log(average / (k + average)));
  };
  constexpr double kLogLeast = -4.6;
  constexpr double kLogMost = 6.91;
  constexpr int kBits = 16;
  const double log_size =
      boost::math::tools::brent_find_minima(loss, kLogLeast, kLogMost, kBits).first;
  return log_size < kLogMost - 0.1 ? std::optional(std::exp(log_size)) : std::nullopt;
}

double kolmogorov_smirnov(std::vector<double> numbers, const std::function<double(double)>& cdf) {
  std::sort(numbers.begin(), numbers.end());
  const auto n = static_cast<double>(numbers.size());
  double distance = 0.0;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const double p = cdf(numbers[i]);
    const auto rank = static_cast<double>(i);
    distance = std::max({distance, p - rank / n, (rank + 1.0) / n - p});
  }
  return distance;
}

}  // namespace runflat::sim
