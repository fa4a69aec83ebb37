#include "sim/distribution.hpp"

#include "core/error.hpp"
#include "core/reader.hpp"
#include "core/value.hpp"
#include "sim/random.hpp"
#include "tests/catch.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

Seconds hours(double count) {
  return Hours{count};
}

/// The repair law fitted to the InfiniteHBD trace, shared/reference/fault-tolerance.md section 3b.
Distribution infinitehbd_repair() {
  return Distribution::lognormal_mixture({{.weight = 0.35, .median = hours(0.76), .sigma = 2.07},
                                          {.weight = 0.65, .median = hours(57.1), .sigma = 1.61}});
}

Distribution read(Value::Object members) {
  const Value value{std::move(members)};
  return read_distribution(Reader{value, "f.toml", "failures.class[0].repair"});
}

std::string message(Value::Object members) {
  try {
    static_cast<void>(read(std::move(members)));
  } catch (const ParseError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("samples follow the distribution function", "[sim][distribution]") {
  const Distribution law = GENERATE(Distribution::exponential(hours(5)),
                                    Distribution::weibull(0.62, hours(50)),
                                    Distribution::weibull(3.0, hours(2)),
                                    Distribution::weibull_of_mean(0.451, hours(133)),
                                    Distribution::lognormal(hours(15), 2.52),
                                    infinitehbd_repair());
  constexpr std::size_t kSamples = 20000;
  RandomStream stream{11, {.purpose = Purpose::repair}};
  std::vector<double> probabilities(kSamples);
  for (double& p : probabilities) {
    p = law.cdf(law.sample(stream));
  }
  std::sort(probabilities.begin(), probabilities.end());
  double distance = 0.0;  // Kolmogorov-Smirnov, from the uniform law
  for (std::size_t i = 0; i < kSamples; ++i) {
    const double below = static_cast<double>(i) / kSamples;
    const double up_to = static_cast<double>(i + 1) / kSamples;
    distance = std::max(
        {distance, std::abs(probabilities[i] - below), std::abs(probabilities[i] - up_to)});
  }
  // P(sqrt(n) D > 2.2) = 1.3e-4 in the limit.
  CHECK(distance * std::sqrt(static_cast<double>(kSamples)) < 2.2);
}

TEST_CASE("the mean is the integral of the survival function", "[sim][distribution]") {
  const Distribution law = GENERATE(Distribution::constant(hours(3)),
                                    Distribution::exponential(hours(5)),
                                    Distribution::weibull(0.62, hours(50)),
                                    Distribution::weibull(3.0, hours(2)),
                                    Distribution::lognormal(hours(15), 1.0),
                                    infinitehbd_repair());
  // E X = integral of (1 - F(x)) dx, with x = e^y by the midpoint rule.
  constexpr double kStep = 1e-3;
  double integral = 0.0;
  for (double y = -15.0; y < 35.0; y += kStep) {
    const double x = std::exp(y + kStep / 2);
    integral += (1.0 - law.cdf(Seconds{x})) * x * kStep;
  }
  CHECK(law.mean().count() == Approx(integral).epsilon(1e-3));
}

TEST_CASE("closed forms of mean and median", "[sim][distribution]") {
  CHECK(Distribution{}.mean() == Seconds::zero());
  CHECK(Distribution::exponential(hours(5)).mean().count() == Approx(5 * 3600.0));
  // Gamma(1 + 1/0.5) = 2.
  CHECK(Distribution::weibull(0.5, hours(10)).mean().count() == Approx(20 * 3600.0));
  CHECK(Distribution::weibull_of_mean(0.5, hours(20)).cdf(hours(10)) ==
        Approx(1.0 - std::exp(-1.0)));
  // median e^(sigma^2 / 2)
  CHECK(Distribution::lognormal(hours(2), 1.5).mean().count() == Approx(7200.0 * std::exp(1.125)));
  CHECK(Distribution::lognormal(hours(2), 1.5).cdf(hours(2)) == Approx(0.5));
  CHECK(Distribution::lognormal(hours(2), 0.0).cdf(hours(1.999)) == 0.0);
}

TEST_CASE("a constant is sampled exactly and draws nothing", "[sim][distribution]") {
  RandomStream stream{12, {}};
  RandomStream untouched{12, {}};
  CHECK(Distribution::constant(hours(72)).sample(stream) == hours(72));
  CHECK(stream.bits64() == untouched.bits64());
}

TEST_CASE("the lognormal mixture of the InfiniteHBD repairs has the trace's quantiles",
          "[sim][distribution][golden]") {
  // Quantiles of the trace (defaults.json): median 20.4 h, p90 311.3 h. The fit is to the whole
  // law, whose Kolmogorov-Smirnov distance is below 0.05 on 584 repairs.
  CHECK(std::abs(infinitehbd_repair().cdf(hours(20.4)) - 0.5) < 0.051);
  CHECK(std::abs(infinitehbd_repair().cdf(hours(311.3)) - 0.9) < 0.051);
}

TEST_CASE("each kind of distribution is read from a table", "[sim][distribution]") {
  CHECK(read({{"kind", "constant"}, {"value_hours", 3}}) == Distribution::constant(hours(3)));
  CHECK(read({{"kind", "constant"}, {"value_minutes", 0}}) == Distribution{});
  CHECK(read({{"kind", "exponential"}, {"mean_days", 5}}) == Distribution::exponential(hours(120)));
  CHECK(read({{"kind", "weibull"}, {"shape", 0.5}, {"scale_hours", 10.0}}) ==
        Distribution::weibull(0.5, hours(10)));
  CHECK(read({{"kind", "weibull"}, {"shape", 0.5}, {"mean_hours", 20}}) ==
        Distribution::weibull_of_mean(0.5, hours(20)));
  CHECK(read({{"kind", "lognormal"}, {"median_seconds", 5.0}, {"sigma", 2}}) ==
        Distribution::lognormal(Seconds{5}, 2.0));
  const Value::Array parts{
      Value::Object{{"weight", 0.35}, {"median_hours", 0.76}, {"sigma", 2.07}},
      Value::Object{{"weight", 0.65}, {"median_hours", 57.1}, {"sigma", 1.61}}};
  CHECK(read({{"kind", "lognormal_mixture"}, {"parts", parts}}) == infinitehbd_repair());
}

TEST_CASE("a bad distribution is refused with its file and key path", "[sim][distribution]") {
  using Catch::Matchers::Contains;
  const std::string place = "f.toml: failures.class[0].repair";
  CHECK_THAT(message({{"kind", "uniform"}}), Contains(place + ".kind: "));
  CHECK_THAT(message({{"value_hours", 3}}), Contains("kind"));
  CHECK_THAT(message({{"kind", "constant"}, {"value_hours", -3}}),
             Contains(place + ".value_hours: "));
  CHECK_THAT(message({{"kind", "constant"}}), Contains(place + ": expected value_seconds"));
  CHECK_THAT(message({{"kind", "constant"}, {"value_hours", 3}, {"value_days", 3}}),
             Contains("one unit only"));
  CHECK_THAT(message({{"kind", "exponential"}, {"mean_hours", 0}}), Contains("above 0"));
  CHECK_THAT(message({{"kind", "exponential"}, {"mean_hours", 5}, {"shape", 2.0}}),
             Contains("shape"));
  CHECK_THAT(message({{"kind", "weibull"}, {"shape", 0}, {"scale_hours", 1}}),
             Contains(place + ".shape: "));
  CHECK_THAT(message({{"kind", "weibull"}, {"shape", 1}}), Contains("either a scale or a mean"));
  CHECK_THAT(message({{"kind", "weibull"}, {"shape", 1}, {"scale_hours", 1}, {"mean_hours", 1}}),
             Contains("either a scale or a mean"));
  CHECK_THAT(message({{"kind", "lognormal"}, {"median_hours", 1}, {"sigma", -1.0}}),
             Contains(place + ".sigma: "));
  CHECK_THAT(message({{"kind", "lognormal_mixture"}, {"parts", Value::Array{}}}),
             Contains(place + ".parts: "));
}

TEST_CASE("a distribution with impossible parameters is refused", "[sim][distribution]") {
  CHECK_THROWS_AS(Distribution::constant(Seconds{-1}), InvalidArgument);
  CHECK_THROWS_AS(Distribution::exponential(Seconds{0}), InvalidArgument);
  CHECK_THROWS_AS(Distribution::weibull(0.0, Seconds{1}), InvalidArgument);
  CHECK_THROWS_AS(Distribution::weibull(1.0, Seconds{INFINITY}), InvalidArgument);
  CHECK_THROWS_AS(Distribution::lognormal(Seconds{1}, -0.1), InvalidArgument);
  CHECK_THROWS_AS(Distribution::lognormal_mixture({}), InvalidArgument);
}
