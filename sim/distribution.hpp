#pragma once

#include "core/units.hpp"

#include <utility>
#include <variant>
#include <vector>

namespace runflat {
class Reader;
}

namespace runflat::sim {

class RandomStream;

/// One part of a mixture of lognormals: ln X is normal with mean ln `median` and deviation `sigma`.
struct LognormalPart {
  double weight = 1.0;
  Seconds median{};
  double sigma = 0.0;

  friend bool operator==(const LognormalPart&, const LognormalPart&) = default;
};

/// The law of a random span of time, at least zero. Samples are inverse transforms of the stream's
/// uniforms: one for each sample, two for a mixture.
class Distribution {
 public:
  /// Always zero.
  Distribution();

  /// Each throws InvalidArgument for a negative or infinite span, a shape that is not positive, a
  /// negative sigma, or weights that are negative or all zero.
  [[nodiscard]] static Distribution constant(Seconds value);
  [[nodiscard]] static Distribution exponential(Seconds mean);
  /// P(X > x) = exp(-(x / scale)^shape).
  [[nodiscard]] static Distribution weibull(double shape, Seconds scale);
  /// The shape is at least 0.05.
  [[nodiscard]] static Distribution weibull_of_mean(double shape, Seconds mean);
  [[nodiscard]] static Distribution lognormal(Seconds median, double sigma);
  /// The weights need not add up to one.
  [[nodiscard]] static Distribution lognormal_mixture(std::vector<LognormalPart> parts);

  [[nodiscard]] Seconds sample(RandomStream& stream) const;
  [[nodiscard]] Seconds mean() const;
  /// Probability of at most `x`.
  [[nodiscard]] double cdf(Seconds x) const;

  friend bool operator==(const Distribution&, const Distribution&) = default;

 private:
  struct Constant {
    Seconds value;
    friend bool operator==(const Constant&, const Constant&) = default;
  };
  struct Weibull {
    double shape;
    Seconds scale;
    friend bool operator==(const Weibull&, const Weibull&) = default;
  };
  struct Lognormals {
    std::vector<LognormalPart> parts;  // weights add up to one
    std::vector<double> log_medians;   // of seconds
    friend bool operator==(const Lognormals&, const Lognormals&) = default;
  };
  using Law = std::variant<Constant, Weibull, Lognormals>;

  explicit Distribution(Law law) : law_(std::move(law)) {}

  Law law_;
};

/// Reads a table with a `kind` and its parameters, spans with their unit in the key (_seconds,
/// _minutes, _hours, _days):
///   {kind = "constant", value_hours = 3}
///   {kind = "exponential", mean_days = 5}
///   {kind = "weibull", shape = 0.45, scale_hours = 50.7}      or mean_hours instead of scale_hours
///   {kind = "lognormal", median_hours = 15, sigma = 2.52}
///   {kind = "lognormal_mixture", parts = [{weight = 0.35, median_hours = 0.76, sigma = 2.07},
///   ...]}
[[nodiscard]] Distribution read_distribution(const Reader& place);

}  // namespace runflat::sim
