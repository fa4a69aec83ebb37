#include "sim/availability.hpp"

#include "core/error.hpp"
#include "sim/random.hpp"
#include "tests/catch.hpp"
#include "tests/sim/sample_statistics.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

constexpr std::int64_t kGpus = 32768;

double binomial(int n, int k) {
  return k < 0 || k > n
             ? 0.0
             : std::exp(std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0));
}

}  // namespace

TEST_CASE("the availability of a group is C(N - D, n) / C(N, n)", "[sim][availability]") {
  for (int num_gpus = 1; num_gpus <= 24; ++num_gpus) {
    for (int num_failed = 0; num_failed <= num_gpus; ++num_failed) {
      for (int group_size = 1; group_size <= num_gpus; ++group_size) {
        const double expected =
            binomial(num_gpus - group_size, num_failed) / binomial(num_gpus, num_failed);
        REQUIRE(group_availability({num_gpus, num_failed}, group_size) ==
                Approx(expected).epsilon(1e-11).margin(1e-15));
      }
    }
  }
}

TEST_CASE("sampled placements have the closed form's number of bad domains",
          "[sim][availability]") {
  const std::int64_t domain_size = GENERATE(1, 7, 8, 72);
  const std::int64_t num_failed = GENERATE(0, 1, 30, 500, 1008);
  const FailedGpus gpus{1008, num_failed};
  RandomStream stream{15,
                      {.source = static_cast<std::uint32_t>(domain_size * 2000 + num_failed),
                       .purpose = Purpose::placement}};
  std::vector<double> fractions;
  for (int i = 0; i < 2000; ++i) {
    const std::int64_t num_bad = sample_bad_domains(gpus, domain_size, stream);
    REQUIRE(num_bad <= num_failed);
    REQUIRE(num_bad * domain_size >= num_failed);
    fractions.push_back(static_cast<double>(num_bad * domain_size) / 1008.0);
  }
  CHECK(estimate(fractions).agrees_with(bad_domain_fraction(gpus, domain_size), 1e-12));
}

TEST_CASE("impossible failures and groups are refused", "[sim][availability]") {
  CHECK_THROWS_AS(group_availability({8, 9}, 1), InvalidArgument);
  CHECK_THROWS_AS(group_availability({8, -1}, 1), InvalidArgument);
  CHECK_THROWS_AS(group_availability({8, 1}, 9), InvalidArgument);
  CHECK_THROWS_AS(FailedGpus::of_fraction(8, 1.5), InvalidArgument);
  CHECK_THROWS_AS(packed_replicas(1, 0), InvalidArgument);
}

TEST_CASE("the availability of TP domains is the reference table's to its four digits",
          "[sim][availability][golden]") {
  // reference/ntp.md section 2.3, N = 32768: failed fraction, then TP 8, 16, 32, 64, 72.
  struct Row {
    double fraction;
    std::array<double, 5> availability;
  };
  const std::array<Row, 5> table{{{0.0005, {.9961, .9922, .9845, .9692, .9654}},
                                  {0.001, {.9920, .9840, .9683, .9375, .9299}},
                                  {0.002, {.9840, .9682, .9375, .8788, .8647}},
                                  {0.003, {.9763, .9532, .9086, .8254, .8058}},
                                  {0.004, {.9685, .9379, .8796, .7737, .7492}}}};
  constexpr std::array<std::int64_t, 5> kSizes{8, 16, 32, 64, 72};
  for (const Row& row : table) {
    const FailedGpus gpus = FailedGpus::of_fraction(kGpus, row.fraction);
    for (std::size_t i = 0; i < kSizes.size(); ++i) {
      CAPTURE(row.fraction, kSizes[i]);
      CHECK(std::round(group_availability(gpus, kSizes[i]) * 1e4) / 1e4 ==
            Approx(row.availability[i]).margin(1e-9));
    }
  }
}

TEST_CASE("losses over random placements agree with the reference table",
          "[sim][availability][golden]") {
  // reference/ntp.md section 2.3, NVL32: 1024 domains, 8 per replica, 128 replicas, means over
  // placements: fraction, bad domains, DP-DROP packed, DP-DROP unpacked, NTP with 7 and 6 of 8.
  struct Row {
    double fraction, bad_domains, packed, unpacked, ntp_7, ntp_6;
  };
  const std::array<Row, 6> table{{{0.0005, .0155, .0156, .118, .0020, .0039},
                                  {0.001, .0318, .0361, .228, .0045, .0090},
                                  {0.0015, .0468, .0495, .319, .0062, .0123},
                                  {0.002, .0625, .0657, .404, .0082, .0164},
                                  {0.003, .0912, .0939, .535, .0117, .0235},
                                  {0.004, .1202, .1238, .641, .0155, .0310}}};
  constexpr double kRounding = 0.00005;
  RandomStream stream{16, {.purpose = Purpose::placement}};
  for (const Row& row : table) {
    CAPTURE(row.fraction);
    const FailedGpus gpus = FailedGpus::of_fraction(kGpus, row.fraction);
    std::vector<double> bad;
    std::vector<double> packed;
    std::vector<double> unpacked;
    for (int i = 0; i < 400; ++i) {
      const std::int64_t num_bad = sample_bad_domains(gpus, 32, stream);
      bad.push_back(static_cast<double>(num_bad) / 1024.0);
      packed.push_back(static_cast<double>(packed_replicas(num_bad, 8)) / 128.0);
    }
    for (int i = 0; i < 400; ++i) {
      unpacked.push_back(static_cast<double>(sample_bad_domains(gpus, 256, stream)) / 128.0);
    }
    const Estimate bad_domains = estimate(bad);
    const Estimate loss = estimate(packed);
    CHECK(bad_domains.agrees_with(bad_domain_fraction(gpus, 32)));
    CHECK(bad_domains.agrees_with(row.bad_domains, kRounding));
    CHECK(loss.agrees_with(row.packed, kRounding));
    CHECK(estimate(unpacked).agrees_with(unpacked_dp_drop_loss(gpus, 256)));
    CHECK(estimate(unpacked).agrees_with(row.unpacked, 10 * kRounding));
    // A reduced replica with 7 or 6 of 8 sequences loses 1/8 or 2/8 of itself.
    CHECK(std::abs(loss.mean / 8.0 - row.ntp_7) < 5.0 * loss.standard_error / 8.0 + kRounding);
    CHECK(std::abs(loss.mean / 4.0 - row.ntp_6) < 5.0 * loss.standard_error / 4.0 + kRounding);
  }
}
