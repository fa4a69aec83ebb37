#include "sim/portable_math.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

namespace runflat::sim {
namespace {

// ln 2 in two parts: the first has few enough bits that its product with an exponent is exact.
constexpr double kLn2High = 0x1.62e42feep-1;
constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
constexpr double kInverseLn2 = 0x1.71547652b82fep+0;

template <std::size_t N>
double polynomial(const std::array<double, N>& coefficients, double x) {
  double sum = 0.0;
  for (const double coefficient : coefficients) {
    sum = sum * x + coefficient;
  }
  return sum;
}

}  // namespace

double portable_log(double x) {
  // x = m 2^e with m near 1; ln m = 2 artanh(s) = 2 (s + s^3 / 3 + s^5 / 5 + ...) with
  // s = (m - 1) / (m + 1), |s| < 0.1716; the series as two independent chains.
  int exponent = 0;
  double mantissa = std::frexp(x, &exponent);
  if (mantissa < 0x1.6a09e667f3bcdp-1) {  // sqrt(1/2)
    mantissa *= 2.0;
    --exponent;
  }
  const double s = (mantissa - 1.0) / (mantissa + 1.0);
  constexpr std::array<double, 5> kEven{1.0 / 19, 1.0 / 15, 1.0 / 11, 1.0 / 7, 1.0 / 3};
  constexpr std::array<double, 5> kOdd{1.0 / 21, 1.0 / 17, 1.0 / 13, 1.0 / 9, 1.0 / 5};
  const double square = s * s;
  const double fourth = square * square;
  const double series = polynomial(kEven, fourth) + square * polynomial(kOdd, fourth);
  const double tail = 2.0 * s * (square * series);
  return exponent * kLn2High + (2.0 * s + (tail + exponent * kLn2Low));
}

double portable_exp(double x) {
  if (x > 709.0) {
    return std::numeric_limits<double>::infinity();
  }
  if (x < -708.0) {
    return 0.0;
  }
  // x = k ln 2 + r, |r| <= 0.347; Taylor series of e^r up to r^13 / 13!, as two independent chains.
  const double k = std::floor(x * kInverseLn2 + 0.5);
  const double r = (x - k * kLn2High) - k * kLn2Low;
  constexpr std::array<double, 7> kEven{
      1.0 / 479001600, 1.0 / 3628800, 1.0 / 40320, 1.0 / 720, 1.0 / 24, 1.0 / 2, 1.0};
  constexpr std::array<double, 7> kOdd{
      1.0 / 6227020800, 1.0 / 39916800, 1.0 / 362880, 1.0 / 5040, 1.0 / 120, 1.0 / 6, 1.0};
  const double square = r * r;
  const double sum = polynomial(kEven, square) + r * polynomial(kOdd, square);
  return std::ldexp(sum, static_cast<int>(k));
}

double portable_gamma(double x) {
  // Gamma(x) = Gamma(x + n) / (x (x + 1) ... (x + n - 1)), and Stirling's series above 16.
  double product = 1.0;
  while (x < 16.0) {
    product *= x;
    x += 1.0;
  }
  constexpr double kHalfLogTwoPi = 0.91893853320467274178;
  constexpr std::array<double, 5> kStirling{
      1.0 / 1188, -1.0 / 1680, 1.0 / 1260, -1.0 / 360, 1.0 / 12};
  const double inverse = 1.0 / x;
  const double series = inverse * polynomial(kStirling, inverse * inverse);
  return portable_exp((x - 0.5) * portable_log(x) - x + kHalfLogTwoPi + series) / product;
}

double normal_quantile(double p) {
  constexpr std::array<double, 8> kCentreTop{2.5090809287301226727e3,
                                             3.3430575583588128105e4,
                                             6.7265770927008700853e4,
                                             4.5921953931549871457e4,
                                             1.3731693765509461125e4,
                                             1.9715909503065514427e3,
                                             1.3314166789178437745e2,
                                             3.3871328727963666080e0};
  constexpr std::array<double, 8> kCentreBottom{5.2264952788528545610e3,
                                                2.8729085735721942674e4,
                                                3.9307895800092710610e4,
                                                2.1213794301586595867e4,
                                                5.3941960214247511077e3,
                                                6.8718700749205790830e2,
                                                4.2313330701600911252e1,
                                                1.0};
  constexpr std::array<double, 8> kMiddleTop{7.74545014278341407640e-4,
                                             2.27238449892691845833e-2,
                                             2.41780725177450611770e-1,
                                             1.27045825245236838258e0,
                                             3.64784832476320460504e0,
                                             5.76949722146069140550e0,
                                             4.63033784615654529590e0,
                                             1.42343711074968357734e0};
  constexpr std::array<double, 8> kMiddleBottom{1.05075007164441684324e-9,
                                                5.47593808499534494600e-4,
                                                1.51986665636164571966e-2,
                                                1.48103976427480074590e-1,
                                                6.89767334985100004550e-1,
                                                1.67638483018380384940e0,
                                                2.05319162663775882187e0,
                                                1.0};
  constexpr std::array<double, 8> kTailTop{2.01033439929228813265e-7,
                                           2.71155556874348757815e-5,
                                           1.24266094738807843860e-3,
                                           2.65321895265761230930e-2,
                                           2.96560571828504891230e-1,
                                           1.78482653991729133580e0,
                                           5.46378491116411436990e0,
                                           6.65790464350110377720e0};
  constexpr std::array<double, 8> kTailBottom{2.04426310338993978564e-15,
                                              1.42151175831644588870e-7,
                                              1.84631831751005468180e-5,
                                              7.86869131145613259100e-4,
                                              1.48753612908506148525e-2,
                                              1.36929880922735805310e-1,
                                              5.99832206555887937690e-1,
                                              1.0};
  const double q = p - 0.5;
  if (std::fabs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * polynomial(kCentreTop, r) / polynomial(kCentreBottom, r);
  }
  const double r = std::sqrt(-portable_log(q < 0.0 ? p : 1.0 - p));
  const double magnitude =
      r <= 5.0 ? polynomial(kMiddleTop, r - 1.6) / polynomial(kMiddleBottom, r - 1.6)
               : polynomial(kTailTop, r - 5.0) / polynomial(kTailBottom, r - 5.0);
  return q < 0.0 ? -magnitude : magnitude;
}

}  // namespace runflat::sim
