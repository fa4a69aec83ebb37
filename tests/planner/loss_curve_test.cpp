#include "planner/loss_curve.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "planner/rates.hpp"
#include "sim/availability.hpp"
#include "tests/catch.hpp"
#include "tests/planner/paper_replica.hpp"
#include "tests/sim/sample_statistics.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::planner;

namespace {

constexpr std::int32_t kGpus = 32768;

sim::SiteShape domains_of(std::int32_t size) {
  return {.cluster = {.num_nodes = kGpus / 4, .gpus_per_node = 4, .domain_size = size},
          .tp = size,
          .num_job_sites = kGpus / size};
}

/// Rates of replicas of `per_replica` domains that do `share` of their batch when damaged at all.
PolicyRates flat_rates(std::int32_t tp, std::int64_t per_replica, double share) {
  const auto size = static_cast<std::size_t>(tp) + 1;
  PolicyRates rates{.tp = tp,
                    .sites_per_replica = per_replica,
                    .num_replicas = kGpus / tp / per_replica,
                    .reduced = std::vector<DegreeRate>(size),
                    .uniform = std::vector<double>(size, 0.0),
                    .healthy_slowdown = std::vector<double>(size, 1.0)};
  for (std::size_t degree = 1; degree < size; ++degree) {
    rates.reduced[degree] = {.num_microbatches = 1, .share = share};
  }
  return rates;
}

/// The mean over placements with its standard error: each placement is a seed of its own.
sim::Estimate measure(PolicyKind policy,
                      const PolicyRates& rates,
                      std::int32_t domain_size,
                      std::int64_t num_failed,
                      std::uint64_t num_placements = 200) {
  std::vector<double> losses;
  for (std::uint64_t seed = 0; seed < num_placements; ++seed) {
    losses.push_back(mean_loss(policy, rates, domains_of(domain_size), num_failed, 1, seed));
  }
  return sim::estimate(losses);
}

/// The rows of the golden table; `-` is empty.
std::vector<std::vector<std::optional<double>>> golden_rows() {
  std::istringstream text(
      read_text_file(std::string(RUNFLAT_SOURCE_DIR) + "/tests/golden/ntp_uniform_failures.txt"));
  std::vector<std::vector<std::optional<double>>> rows;
  for (std::string line; std::getline(text, line);) {
    if (line.empty() || line.front() == '#') {
      continue;
    }
    std::istringstream words(line);
    rows.emplace_back();
    for (std::string word; words >> word;) {
      rows.back().push_back(word == "-" ? std::nullopt : std::optional(std::stod(word)));
    }
    REQUIRE(rows.back().size() == 10);
  }
  return rows;
}

std::int64_t failed_at(double fraction) {
  return sim::FailedGpus::of_fraction(kGpus, fraction).num_failed;
}

}  // namespace

TEST_CASE("losses over random placements are those of the paper's table",
          "[planner][loss_curve][golden]") {
  const auto rows = golden_rows();
  REQUIRE(rows.size() == 6);
  for (const auto& row : rows) {
    const std::int64_t failed = failed_at(*row[0]);
    CAPTURE(*row[0], failed);
    constexpr double kRounding = 5e-5;  // half of the table's last digit
    // A job of one-domain replicas loses the share of damaged domains: 1 - availability.
    for (std::size_t column = 1; column <= 4; ++column) {
      const std::int32_t domain = 4 << column;
      if (row[column]) {
        const auto loss = measure(PolicyKind::dp_drop, flat_rates(domain, 1, 0.0), domain, failed);
        CHECK(loss.agrees_with(1.0 - *row[column], kRounding));
      }
    }
    // The table's own means are over placements too: as many errors again.
    const auto agrees = [](const sim::Estimate& loss, double expected, double rounding) {
      CAPTURE(loss.mean, loss.standard_error, expected);
      CHECK(loss.agrees_with(expected, 5.0 * loss.standard_error + rounding));
    };
    agrees(measure(PolicyKind::dp_drop, flat_rates(32, 1, 0.0), 32, failed), *row[5], kRounding);
    agrees(measure(PolicyKind::dp_drop, flat_rates(32, 8, 0.0), 32, failed), *row[6], kRounding);
    // Replicas in place are domains of 256 GPUs: nothing is packed.
    agrees(measure(PolicyKind::dp_drop, flat_rates(256, 1, 0.0), 256, failed),
           *row[7],
           10 * kRounding);
    agrees(measure(PolicyKind::ntp, flat_rates(32, 8, 7.0 / 8.0), 32, failed), *row[8], kRounding);
    agrees(measure(PolicyKind::ntp, flat_rates(32, 8, 6.0 / 8.0), 32, failed), *row[9], kRounding);
  }
}

TEST_CASE(
    "at 4e-3 failed the paper's model loses 12 % by dropping, at most 3 % by ntp, under 1 % "
    "with power",
    "[planner][loss_curve][golden]") {
  // reference/ntp.md R12; R17: up to 30 % more power for a surviving GPU.
  const PowerLimits power{.max_boost = 1.3, .rack_headroom = 1.3, .rack_gpus = 32};
  const auto loss = [&](PolicyKind policy, double fraction) {
    const auto rates = compute_rates(
        policy, kPaperJob, power, [](std::int64_t) { return true; }, paper_replica_time());
    return measure(policy, *rates, 32, failed_at(fraction));
  };
  CHECK(loss(PolicyKind::dp_drop, 4e-3).mean == Approx(0.12).margin(0.01));
  CHECK(loss(PolicyKind::ntp, 4e-3).mean <= 0.03);
  CHECK(loss(PolicyKind::ntp, 4e-3).mean > 0.01);
  for (const double fraction : {0.0, 1e-3, 2e-3, 4e-3}) {
    CHECK(loss(PolicyKind::ntp_pw, fraction).mean < 0.01);
  }
}

TEST_CASE(
    "TP 64 has 93.75 % of its domains at 0.1 % failed, and under 80 % at the peak of three "
    "times the rate",
    "[planner][loss_curve][golden]") {
  // reference/ntp.md R4 and R7: 129 GPUs down at the peak leave 77.7 %.
  const PolicyRates rates = flat_rates(64, 1, 0.0);
  CHECK(measure(PolicyKind::dp_drop, rates, 64, failed_at(1e-3)).agrees_with(1.0 - 0.9375, 5e-5));
  CHECK(measure(PolicyKind::dp_drop, rates, 64, 129).agrees_with(1.0 - 0.777, 5e-4));
}

TEST_CASE("a loss curve is a function of its seed, and the same placements serve every policy",
          "[planner][loss_curve]") {
  const PolicyRates rates = flat_rates(32, 8, 0.75);
  const auto loss = [&](PolicyKind policy, std::uint64_t seed) {
    return mean_loss(policy, rates, domains_of(32), 100, 5, seed);
  };
  CHECK(loss(PolicyKind::ntp, 7) == loss(PolicyKind::ntp, 7));
  CHECK(loss(PolicyKind::ntp, 7) != loss(PolicyKind::ntp, 8));
  CHECK(loss(PolicyKind::ntp, 7) == Approx(loss(PolicyKind::dp_drop, 7) / 4.0));
  CHECK(mean_loss(PolicyKind::ntp, rates, domains_of(32), 0, 5, 7) == 0.0);
  CHECK(mean_loss(PolicyKind::ntp, rates, domains_of(32), kGpus, 1, 7) == 1.0);
  CHECK_THROWS_AS(mean_loss(PolicyKind::ntp, rates, domains_of(32), kGpus + 1, 1, 7),
                  InvalidArgument);
}

TEST_CASE("a failure of neighbours hits as many domains as one of a single GPU, but each harder",
          "[planner][loss_curve]") {
  PolicyRates rates = flat_rates(32, 8, 0.0);
  for (std::size_t degree = 1; degree <= 32; ++degree) {
    rates.reduced[degree].share = static_cast<double>(degree) / 32.0;
  }
  const auto loss = [&](PolicyKind policy, std::int64_t num_failed, std::int32_t neighbours) {
    return mean_loss(policy, rates, domains_of(32), num_failed, 100, 7, neighbours);
  };
  CHECK(loss(PolicyKind::ntp, 33, 1) ==
        mean_loss(PolicyKind::ntp, rates, domains_of(32), 33, 100, 7));
  // 33 blocks of up to a domain are in nearly 33 domains: 5 replicas of 128 at least.
  for (const std::int32_t neighbours : {1, 4, 32}) {
    CHECK(loss(PolicyKind::dp_drop, 33, neighbours) == Approx(5.0 / 128.0).margin(0.004));
  }
  CHECK(loss(PolicyKind::ntp, 1, 4) == Approx(4.0 / 32.0 / 128.0));
  CHECK(loss(PolicyKind::ntp, 1, 32) == Approx(1.0 / 128.0));
  CHECK_THROWS_AS(loss(PolicyKind::ntp, 8193, 4), InvalidArgument);
}
