#include "sim/law_fit.hpp"

#include "core/error.hpp"
#include "sim/random.hpp"
#include "tests/catch.hpp"
#include "tests/sim/sample_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

std::vector<Seconds> draw(const Distribution& law, int num, std::uint32_t source) {
  RandomStream stream{21, {.source = source}};
  std::vector<Seconds> spans;
  for (int i = 0; i < num; ++i) {
    spans.push_back(law.sample(stream));
  }
  return spans;
}

}  // namespace

TEST_CASE("the likelihood equations hold at a fit", "[sim][law_fit]") {
  const std::vector<Seconds> spans = draw(Distribution::lognormal(Hours{2}, 1.3), 400, 0);
  const auto n = static_cast<double>(spans.size());
  SECTION("exponential: the mean is the sample's") {
    Seconds sum{};
    for (const Seconds span : spans) {
      sum += span;
    }
    const LawFit fit = fit_law(LawKind::exponential, spans);
    CHECK(fit.law.mean().count() == Approx(sum.count() / n));
    // ln L = -n (ln mean + 1)
    CHECK(fit.aic == Approx(2.0 + 2.0 * n * (std::log(sum.count() / n) + 1.0)));
  }
  SECTION("Weibull: sum (x/scale)^k = n, and n / k + sum ln x = sum (x/scale)^k ln x") {
    const LawFit fit = fit_law(LawKind::weibull, spans);
    const double k = fit.parameters.at(0).value;
    const double scale = 3600.0 * fit.parameters.at(1).value;
    double powers = 0.0;
    double slope = n / k;
    for (const Seconds span : spans) {
      const double power = std::pow(span.count() / scale, k);
      powers += power;
      slope += std::log(span.count()) * (1.0 - power);
    }
    CHECK(powers == Approx(n));
    CHECK(slope == Approx(0.0).margin(1e-6 * n));
  }
  SECTION("lognormal: mean and deviation of the logarithms") {
    double sum = 0.0;
    double squares = 0.0;
    for (const Seconds span : spans) {
      sum += std::log(span.count() / 3600.0);
      squares += std::log(span.count() / 3600.0) * std::log(span.count() / 3600.0);
    }
    const LawFit fit = fit_law(LawKind::lognormal, spans);
    CHECK(std::log(fit.parameters.at(0).value) == Approx(sum / n));
    CHECK(fit.parameters.at(1).value == Approx(std::sqrt(squares / n - sum * sum / n / n)));
  }
  SECTION("a mixture is at least as likely as one part") {
    const LawFit one = fit_law(LawKind::lognormal, spans);
    const LawFit two = fit_law(LawKind::lognormal_mixture, spans);
    CHECK(two.aic - 2.0 * 5 <= one.aic - 2.0 * 2 + 1e-6);
  }
}

TEST_CASE("the law that spans were drawn from is chosen, with its parameters", "[sim][law_fit]") {
  constexpr int kSpans = 5000;
  SECTION("Weibull") {
    const LawFit best = fit_laws(draw(Distribution::weibull(0.45, Hours{50}), kSpans, 1)).front();
    CHECK(best.kind == LawKind::weibull);
    // Asymptotic deviations 0.78 k / sqrt(n) and 1.05 scale / (k sqrt(n)).
    CHECK(std::abs(best.parameters.at(0).value - 0.45) < 5 * 0.78 * 0.45 / std::sqrt(kSpans));
    CHECK(std::abs(best.parameters.at(1).value - 50) < 5 * 1.05 * 50 / 0.45 / std::sqrt(kSpans));
  }
  SECTION("lognormal") {
    const LawFit best = fit_laws(draw(Distribution::lognormal(Hours{15}, 2.5), kSpans, 2)).front();
    CHECK(best.kind == LawKind::lognormal);
    CHECK(std::abs(std::log(best.parameters.at(0).value / 15)) < 5 * 2.5 / std::sqrt(kSpans));
  }
  SECTION("mixture") {
    const Distribution law =
        Distribution::lognormal_mixture({{.weight = 0.35, .median = Hours{0.5}, .sigma = 1.0},
                                         {.weight = 0.65, .median = Hours{60}, .sigma = 1.2}});
    const LawFit best = fit_laws(draw(law, kSpans, 3)).front();
    REQUIRE(best.kind == LawKind::lognormal_mixture);
    CHECK(std::abs(best.parameters.at(0).value - 0.35) < 0.04);
    CHECK(std::abs(std::log(best.parameters.at(1).value / 0.5)) < 0.15);
    CHECK(std::abs(best.parameters.at(2).value - 1.0) < 0.12);
    CHECK(std::abs(std::log(best.parameters.at(3).value / 60)) < 0.15);
    CHECK(std::abs(best.parameters.at(4).value - 1.2) < 0.12);
  }
}

TEST_CASE("the distance of Kolmogorov and Smirnov is the largest step apart", "[sim][law_fit]") {
  const auto uniform = [](double x) { return x; };
  CHECK(kolmogorov_smirnov({0.5}, uniform) == Approx(0.5));
  CHECK(kolmogorov_smirnov({0.9, 0.8}, uniform) == Approx(0.8));
  CHECK(kolmogorov_smirnov({0.1, 0.2, 0.3, 0.4}, uniform) == Approx(0.6));
  CHECK(kolmogorov_smirnov({0.125, 0.375, 0.625, 0.875}, uniform) == Approx(0.125));
}

TEST_CASE("the size of a negative binomial is found, and none for equal counts", "[sim][law_fit]") {
  const double k = GENERATE(0.5, 0.93, 3.0);
  constexpr int kNodes = 4000;
  RandomStream stream{22, {.source = static_cast<std::uint32_t>(100 * k)}};
  std::vector<double> sizes;
  for (int repetition = 0; repetition < 20; ++repetition) {
    std::vector<double> counts;
    for (int node = 0; node < kNodes; ++node) {
      // Poisson of a Gamma(k) mean of 2: arrivals of unit exponentials.
      const double mean = 2.0 * stream.gamma(k) / k;
      double num = 0.0;
      for (double at = stream.exponential(); at < mean; at += stream.exponential()) {
        ++num;
      }
      counts.push_back(num);
    }
    sizes.push_back(fit_negative_binomial_size(counts).value());
  }
  CHECK(estimate(sizes).agrees_with(k, 0.01 * k));
  CHECK_FALSE(fit_negative_binomial_size(std::vector<double>{2, 2, 2, 2}));
  CHECK_FALSE(fit_negative_binomial_size(std::vector<double>{0, 0}));
}

TEST_CASE("spans that no law can have are refused", "[sim][law_fit]") {
  const std::vector<Seconds> one{Seconds{1}};
  const std::vector<Seconds> zero{Seconds{1}, Seconds{0}};
  CHECK_THROWS_AS(fit_law(LawKind::weibull, one), InvalidArgument);
  CHECK_THROWS_AS(fit_law(LawKind::lognormal, zero), InvalidArgument);
  const std::vector<double> zeros{0.0, 0.0};
  CHECK_THROWS_AS(fit_weibull_shape(zeros), InvalidArgument);
}
