#pragma once

namespace runflat::sim {

/// Elementary functions from IEEE additions, multiplications, divisions and square roots alone, so
/// that a sampled failure timeline has the same bytes on every platform; the C library's own differ
/// in the last bit between versions. Within a few units in the last place of the exact value.

/// Natural logarithm of a positive, finite, normal number.
[[nodiscard]] double portable_log(double x);

/// e^x; 0 below -708, infinity above 709.
[[nodiscard]] double portable_exp(double x);

/// The gamma function for 0 < x <= 25; relative error below 2e-14.
[[nodiscard]] double portable_gamma(double x);

/// Inverse of the standard normal distribution function, p in (0, 1): Wichura's AS 241 (PPND16,
/// Applied Statistics 37, 1988), relative error about 1e-16.
[[nodiscard]] double normal_quantile(double p);

}  // namespace runflat::sim
