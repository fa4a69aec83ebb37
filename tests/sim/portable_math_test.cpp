#include "sim/portable_math.hpp"

#include "tests/catch.hpp"

#include <cmath>
#include <limits>
#include <random>

using namespace runflat::sim;

namespace {

double random_log_uniform(std::mt19937_64& generator, int max_exponent) {
  const int exponent = static_cast<int>(generator() % static_cast<unsigned>(2 * max_exponent));
  return std::ldexp(1.0 + static_cast<double>(generator() >> 12U) * 0x1p-52,
                    exponent - max_exponent);
}

constexpr double kUlp = std::numeric_limits<double>::epsilon();

}  // namespace

TEST_CASE("the portable logarithm is within a few units in the last place of the C library's",
          "[sim][portable_math]") {
  std::mt19937_64 generator{3};
  for (int i = 0; i < 20000; ++i) {
    const double x = random_log_uniform(generator, i % 2 == 0 ? 1000 : 2);
    REQUIRE(portable_log(x) == Approx(std::log(x)).epsilon(3 * kUlp).margin(0.0));
  }
  CHECK(portable_log(1.0) == 0.0);
}

TEST_CASE("the portable exponential is within a few units in the last place of the C library's",
          "[sim][portable_math]") {
  std::mt19937_64 generator{4};
  std::uniform_real_distribution<double> uniform{-708.0, 709.0};
  for (int i = 0; i < 20000; ++i) {
    const double x = i % 2 == 0 ? uniform(generator) : uniform(generator) / 708.0;
    REQUIRE(portable_exp(x) == Approx(std::exp(x)).epsilon(3 * kUlp).margin(0.0));
  }
  CHECK(portable_exp(0.0) == 1.0);
  CHECK(portable_exp(-1000.0) == 0.0);
  CHECK(portable_exp(1000.0) == std::numeric_limits<double>::infinity());
}

TEST_CASE("the portable gamma function agrees with the C library's", "[sim][portable_math]") {
  for (double x = 0.05; x < 25.0; x += 0.015625) {
    REQUIRE(portable_gamma(x) == Approx(std::tgamma(x)).epsilon(2e-14).margin(0.0));
  }
  CHECK(portable_gamma(5.0) == Approx(24.0).epsilon(1e-14));
}

TEST_CASE("the normal quantile inverts the normal distribution function", "[sim][portable_math]") {
  // Phi(x) = erfc(-x / sqrt 2) / 2; a relative error e of x moves Phi by e x phi(x).
  std::mt19937_64 generator{5};
  std::uniform_real_distribution<double> uniform{0.0, 1.0};
  for (int i = 0; i < 20000; ++i) {
    const double p = i % 2 == 0 ? uniform(generator) : std::ldexp(uniform(generator), -(i % 50));
    const double x = normal_quantile(p);
    const double back = std::erfc(-x / std::sqrt(2.0)) / 2.0;
    REQUIRE(back == Approx(p).epsilon((1.0 + x * x) * 4 * kUlp).margin(0.0));
  }
}

TEST_CASE("the normal quantile is odd about one half", "[sim][portable_math]") {
  for (int i = 1; i < 512; ++i) {
    const double p = i / 1024.0;
    REQUIRE(normal_quantile(p) == -normal_quantile(1.0 - p));
  }
  CHECK(normal_quantile(0.5) == 0.0);
}
