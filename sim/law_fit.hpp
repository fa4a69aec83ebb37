#pragma once

#include "sim/distribution.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace runflat::sim {

/// The laws that positive spans of time are fitted with.
enum class LawKind : std::uint8_t { exponential, weibull, lognormal, lognormal_mixture };

[[nodiscard]] std::string_view to_string(LawKind kind);

struct NamedNumber {
  std::string name;
  double value = 0.0;

  friend bool operator==(const NamedNumber&, const NamedNumber&) = default;
};

/// A law fitted by maximum likelihood.
struct LawFit {
  LawKind kind = LawKind::exponential;
  Distribution law{};
  /// mean_hours; shape, scale_hours; median_hours, sigma; or of the mixture weight_fast and
  /// (fast|slow)_(median_hours|sigma).
  std::vector<NamedNumber> parameters;
  double aic = 0.0;                 ///< 2 x parameters - 2 x log-likelihood
  double kolmogorov_smirnov = 0.0;  ///< largest distance of the distribution functions
};

/// Throws InvalidArgument unless there are at least 2 spans and all are positive and finite. A
/// mixture is fitted by expectation and maximization, sigmas at least 0.2.
[[nodiscard]] LawFit fit_law(LawKind kind, std::span<const Seconds> spans);

/// All laws, the best by Akaike's criterion first; a mixture needs at least 50 spans.
[[nodiscard]] std::vector<LawFit> fit_laws(std::span<const Seconds> spans);

inline constexpr double kLeastWeibullShape = 0.05;
inline constexpr double kMostWeibullShape = 50.0;

/// Maximum likelihood, between these limits, of the Weibull shape of those numbers that are above
/// 0; throws InvalidArgument where there are fewer than two.
[[nodiscard]] double fit_weibull_shape(std::span<const double> numbers);

/// Maximum likelihood of the size k of a negative binomial with the mean of `counts` (which may be
/// expected counts, so need not be whole); none where counts vary too little for any k below 1000.
[[nodiscard]] std::optional<double> fit_negative_binomial_size(std::span<const double> counts);

/// The largest distance between the numbers' empirical distribution function and `cdf`.
[[nodiscard]] double kolmogorov_smirnov(std::vector<double> numbers,
                                        const std::function<double(double)>& cdf);

}  // namespace runflat::sim
