#include "sim/random.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

using namespace runflat::sim;

namespace {

struct Moments {
  double mean = 0.0;
  double variance = 0.0;
};

template <typename Draw>
Moments moments(int num_samples, Draw draw) {
  double sum = 0.0;
  double sum_of_squares = 0.0;
  for (int i = 0; i < num_samples; ++i) {
    const double x = draw();
    sum += x;
    sum_of_squares += x * x;
  }
  const double mean = sum / num_samples;
  return {mean, sum_of_squares / num_samples - mean * mean};
}

/// Five standard errors of a mean: a false alarm in 2 of a million seeds.
double five_standard_errors(double variance, int num_samples) {
  return 5.0 * std::sqrt(variance / num_samples);
}

}  // namespace

TEST_CASE("Philox4x32-10 gives the published known answers", "[sim][random][golden]") {
  // Random123 1.14, tests/kat_vectors.
  using Block = std::array<std::uint32_t, 4>;
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32({~0U, ~0U, ~0U, ~0U}, {~0U, ~0U}) ==
        Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a stream is a function of its seed and id, and different ids give different streams",
          "[sim][random]") {
  const auto first_numbers = [](std::uint64_t seed, StreamId id) {
    RandomStream stream{seed, id};
    std::array<std::uint64_t, 8> numbers{};
    std::generate(numbers.begin(), numbers.end(), [&] { return stream.bits64(); });
    return numbers;
  };
  const StreamId base{.trial = 3, .source = 4, .purpose = Purpose::repair};
  CHECK(first_numbers(7, base) == first_numbers(7, base));
  CHECK(first_numbers(7, base) != first_numbers(8, base));
  CHECK(first_numbers(7, base) != first_numbers(7 + (1ULL << 32U), base));
  CHECK(first_numbers(7, base) != first_numbers(7, {4, 4, Purpose::repair}));
  CHECK(first_numbers(7, base) != first_numbers(7, {3, 5, Purpose::repair}));
  CHECK(first_numbers(7, base) != first_numbers(7, {3, 4, Purpose::target}));
}

TEST_CASE("the first numbers of a stream are pinned, so a timeline never changes by accident",
          "[sim][random]") {
  RandomStream stream{42, {.trial = 1, .source = 2, .purpose = Purpose::target}};
  const std::array<std::uint32_t, 4> block = philox4x32({0, 2, 1, 1}, {42, 0});
  CHECK(stream.bits64() == ((std::uint64_t{block[0]} << 32U) | block[1]));
  CHECK(stream.bits32() == block[2]);
}

TEST_CASE("uniform numbers lie strictly inside (0, 1) with mean 1/2 and variance 1/12",
          "[sim][random]") {
  constexpr int kSamples = 200000;
  RandomStream stream{1, {}};
  double smallest = 1.0;
  double largest = 0.0;
  const Moments found = moments(kSamples, [&] {
    const double u = stream.uniform();
    smallest = std::min(smallest, u);
    largest = std::max(largest, u);
    return u;
  });
  CHECK(smallest > 0.0);
  CHECK(largest < 1.0);
  CHECK(std::abs(found.mean - 0.5) < five_standard_errors(1.0 / 12, kSamples));
  CHECK(std::abs(found.variance - 1.0 / 12) < five_standard_errors(1.0 / 180, kSamples));
}

TEST_CASE("an integer choice hits every value equally often", "[sim][random]") {
  const std::uint32_t num_values = GENERATE(1U, 2U, 3U, 7U, 64U, 1000U);
  constexpr int kSamples = 100000;
  RandomStream stream{2, {.source = num_values}};
  std::vector<int> counts(num_values);
  for (int i = 0; i < kSamples; ++i) {
    ++counts.at(stream.below(num_values));
  }
  // Chi-square has mean n - 1 and variance 2 (n - 1).
  const double expected = static_cast<double>(kSamples) / num_values;
  double chi_square = 0.0;
  for (const int count : counts) {
    chi_square += (count - expected) * (count - expected) / expected;
  }
  const double freedom = num_values - 1.0;
  CHECK(std::abs(chi_square - freedom) <= 6.0 * std::sqrt(2.0 * freedom));
}

TEST_CASE("a choice among almost 2^32 values stays in range and unbiased", "[sim][random]") {
  // Without rejection the low half would be hit 2/3 of the time at 3 * 2^30 values.
  constexpr std::uint32_t kValues = 3U << 30U;
  constexpr int kSamples = 100000;
  RandomStream stream{3, {}};
  const Moments third = moments(kSamples, [&] {
    const std::uint32_t value = stream.below(kValues);
    REQUIRE(value < kValues);
    return value % 3 == 0 ? 1.0 : 0.0;
  });
  CHECK(std::abs(third.mean - 1.0 / 3) < five_standard_errors(2.0 / 9, kSamples));
  CHECK_THROWS_AS(stream.below(0), runflat::InvalidArgument);
}

TEST_CASE("exponential and normal numbers have their moments", "[sim][random]") {
  constexpr int kSamples = 200000;
  RandomStream stream{4, {}};
  const Moments exponential = moments(kSamples, [&] { return stream.exponential(); });
  CHECK(std::abs(exponential.mean - 1.0) < five_standard_errors(1.0, kSamples));
  CHECK(std::abs(exponential.variance - 1.0) < five_standard_errors(8.0, kSamples));
  const Moments normal = moments(kSamples, [&] { return stream.normal(); });
  CHECK(std::abs(normal.mean) < five_standard_errors(1.0, kSamples));
  CHECK(std::abs(normal.variance - 1.0) < five_standard_errors(2.0, kSamples));
}

TEST_CASE("gamma numbers have mean and variance equal to their shape", "[sim][random]") {
  const double shape = GENERATE(0.3, 0.93, 1.0, 2.6, 40.0);
  constexpr int kSamples = 100000;
  RandomStream stream{5, {.source = static_cast<std::uint32_t>(shape * 100)}};
  const Moments found = moments(kSamples, [&] { return stream.gamma(shape); });
  CHECK(std::abs(found.mean - shape) < five_standard_errors(shape, kSamples));
  // Fourth central moment of Gamma(k): 3 k^2 + 6 k.
  const double variance_of_square = 2.0 * shape * shape + 6.0 * shape;
  CHECK(std::abs(found.variance - shape) < five_standard_errors(variance_of_square, kSamples));
}
