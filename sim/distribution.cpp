#include "sim/distribution.hpp"

#include "core/error.hpp"
#include "core/reader.hpp"
#include "sim/portable_math.hpp"
#include "sim/random.hpp"
#include "sim/span_reader.hpp"

#include <cmath>
#include <optional>
#include <utility>

namespace runflat::sim {
namespace {

template <typename... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};
template <typename... Visitors>
Overloaded(Visitors...) -> Overloaded<Visitors...>;

bool finite_and_positive(double x) {
  return std::isfinite(x) && x > 0.0;
}

double standard_normal_cdf(double z) {
  return 0.5 * std::erfc(-z / std::sqrt(2.0));
}

}  // namespace

Distribution::Distribution() : law_(Constant{Seconds::zero()}) {}

Distribution Distribution::constant(Seconds value) {
  require(std::isfinite(value.count()) && value >= Seconds::zero(),
          "a constant span must be at least zero");
  return Distribution{Constant{value}};
}

Distribution Distribution::exponential(Seconds mean) {
  return weibull(1.0, mean);
}

Distribution Distribution::weibull(double shape, Seconds scale) {
  require(finite_and_positive(shape), "a Weibull distribution needs a positive shape");
  require(finite_and_positive(scale.count()), "a Weibull distribution needs a positive scale");
  return Distribution{Weibull{shape, scale}};
}

Distribution Distribution::weibull_of_mean(double shape, Seconds mean) {
  require(finite_and_positive(shape) && shape >= 0.05, "a Weibull shape must be at least 0.05");
  return weibull(shape, mean / portable_gamma(1.0 + 1.0 / shape));
}

Distribution Distribution::lognormal(Seconds median, double sigma) {
  return lognormal_mixture({{.weight = 1.0, .median = median, .sigma = sigma}});
}

Distribution Distribution::lognormal_mixture(std::vector<LognormalPart> parts) {
  double total = 0.0;
  for (const LognormalPart& part : parts) {
    require(std::isfinite(part.weight) && part.weight >= 0.0, "a weight must be at least zero");
    require(finite_and_positive(part.median.count()), "a lognormal needs a positive median");
    require(std::isfinite(part.sigma) && part.sigma >= 0.0, "a sigma must be at least zero");
    total += part.weight;
  }
  require(total > 0.0, "a mixture needs a positive weight");
  Lognormals law{.parts = std::move(parts), .log_medians = {}};
  for (LognormalPart& part : law.parts) {
    part.weight /= total;
    law.log_medians.push_back(portable_log(part.median.count()));
  }
  return Distribution{std::move(law)};
}

Seconds Distribution::sample(RandomStream& stream) const {
  return std::visit(
      Overloaded{
          [](const Constant& law) { return law.value; },
          [&](const Weibull& law) {
            const double x = stream.exponential();
            return law.scale * (law.shape == 1.0 ? x : portable_exp(portable_log(x) / law.shape));
          },
          [&](const Lognormals& law) {
            std::size_t chosen = 0;
            if (law.parts.size() > 1) {
              double rest = stream.uniform() - law.parts.front().weight;
              while (rest > 0.0 && chosen + 1 < law.parts.size()) {
                rest -= law.parts[++chosen].weight;
              }
            }
            const double z = stream.normal();
            return Seconds{portable_exp(law.log_medians[chosen] + law.parts[chosen].sigma * z)};
          }},
      law_);
}

Seconds Distribution::mean() const {
  return std::visit(
      Overloaded{
          [](const Constant& law) { return law.value; },
          [](const Weibull& law) { return law.scale * portable_gamma(1.0 + 1.0 / law.shape); },
          [](const Lognormals& law) {
            Seconds sum{};
            for (const LognormalPart& part : law.parts) {
              sum += part.weight * part.median * portable_exp(0.5 * part.sigma * part.sigma);
            }
            return sum;
          }},
      law_);
}

double Distribution::cdf(Seconds x) const {
  return std::visit(
      Overloaded{
          [&](const Constant& law) { return x >= law.value ? 1.0 : 0.0; },
          [&](const Weibull& law) {
            return x <= Seconds::zero() ? 0.0 : -std::expm1(-std::pow(x / law.scale, law.shape));
          },
          [&](const Lognormals& law) {
            double sum = 0.0;
            for (const LognormalPart& part : law.parts) {
              const double distance = x <= Seconds::zero() ? -INFINITY : std::log(x / part.median);
              sum += part.weight * (part.sigma > 0.0 ? standard_normal_cdf(distance / part.sigma)
                                                     : (distance >= 0.0 ? 1.0 : 0.0));
            }
            return sum;
          }},
      law_);
}

namespace {

Distribution read_weibull(ObjectReader& in) {
  const Reader shape_place = in.at("shape");
  const double shape = shape_place.number(0.05, 100.0);
  const std::optional<Seconds> scale = find_span(in, "scale");
  const std::optional<Seconds> mean = find_span(in, "mean");
  if (scale.has_value() == mean.has_value() || scale == Seconds::zero() ||
      mean == Seconds::zero()) {
    in.place().reject("expected either a scale or a mean above 0, such as scale_hours");
  }
  return scale ? Distribution::weibull(shape, *scale) : Distribution::weibull_of_mean(shape, *mean);
}

constexpr double kMostSigma = 20.0;

Distribution read_lognormal_mixture(ObjectReader& in) {
  const Reader list = in.at("parts");
  std::vector<LognormalPart> parts;
  double total = 0.0;
  for (const Reader& item : list.items()) {
    ObjectReader part = item.object();
    parts.push_back({.weight = part.at("weight").number(0.0),
                     .median = read_positive_span(part, "median"),
                     .sigma = part.at("sigma").number(0.0, kMostSigma)});
    part.finish();
    total += parts.back().weight;
  }
  if (!(total > 0.0)) {
    list.reject("expected at least one part with a weight above 0");
  }
  return Distribution::lognormal_mixture(std::move(parts));
}

Distribution read_kind(ObjectReader& in) {
  enum class Kind { constant, exponential, weibull, lognormal, lognormal_mixture };
  const auto kind = static_cast<Kind>(in.at("kind").choice(
      {"constant", "exponential", "weibull", "lognormal", "lognormal_mixture"}));
  switch (kind) {
    case Kind::constant:
      return Distribution::constant(read_span(in, "value"));
    case Kind::exponential:
      return Distribution::exponential(read_positive_span(in, "mean"));
    case Kind::weibull:
      return read_weibull(in);
    case Kind::lognormal: {
      const Seconds median = read_positive_span(in, "median");
      return Distribution::lognormal(median, in.at("sigma").number(0.0, kMostSigma));
    }
    case Kind::lognormal_mixture:
      return read_lognormal_mixture(in);
  }
  return {};
}

}  // namespace

Distribution read_distribution(const Reader& place) {
  ObjectReader in = place.object();
  Distribution distribution = read_kind(in);
  in.finish();
  return distribution;
}

}  // namespace runflat::sim
