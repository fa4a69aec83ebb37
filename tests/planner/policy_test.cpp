#include "planner/policy.hpp"

#include "planner/rates.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"
#include "tests/planner/paper_replica.hpp"
#include "tests/planner/random_rates.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace runflat;
using namespace runflat::planner;
using sim::Operation;
using sim::SiteCensus;

namespace {

constexpr double kNoise = 1e-12;

/// Whether a policy only ever runs replicas of all their sites.
bool runs_whole_replicas(PolicyKind policy) {
  return policy != PolicyKind::recycle && policy != PolicyKind::oobleck &&
         policy != PolicyKind::adaptive;
}

SiteCensus random_census(const PolicyRates& rates, tests::Dice& dice) {
  const std::int64_t num_sites = rates.num_job_sites() + (dice.one_in(2) ? dice.between(0, 8) : 0);
  SiteCensus census;
  census.num_healthy = dice.between(0, num_sites);
  for (std::int64_t i = census.num_healthy; i < num_sites; ++i) {
    census.num_lost.push_back(static_cast<std::int32_t>(dice.between(1, rates.tp)));
  }
  std::sort(census.num_lost.begin(), census.num_lost.end(), std::greater<>());
  return census;
}

/// The census after one more GPU is lost; the same where none is left.
SiteCensus with_one_more_lost(SiteCensus census, const PolicyRates& rates, tests::Dice& dice) {
  std::vector<std::size_t> candidates;
  for (std::size_t i = 0; i < census.num_lost.size(); ++i) {
    if (census.num_lost[i] < rates.tp) {
      candidates.push_back(i);
    }
  }
  if (census.num_healthy > 0 && (candidates.empty() || dice.one_in(2))) {
    --census.num_healthy;
    census.num_lost.push_back(1);
  } else if (!candidates.empty()) {
    ++census.num_lost[dice.pick(candidates)];
  }
  std::sort(census.num_lost.begin(), census.num_lost.end(), std::greater<>());
  return census;
}

std::int64_t num_used(const std::vector<std::int32_t>& degrees) {
  return static_cast<std::int64_t>(degrees.size()) - std::count(degrees.begin(), degrees.end(), 0);
}

/// The best throughput over every choice of reduced replicas' degrees, damaged sites put to use
/// wherever they can be.
class BestMix {
 public:
  BestMix(const PolicyRates& rates, const SiteCensus& census) : rates_(rates), census_(census) {
    extend(rates.tp - 1);
  }
  [[nodiscard]] double throughput() const { return best_; }

 private:
  void extend(std::int32_t highest) {
    best_ = std::max(best_, of(degrees_));
    if (static_cast<std::int64_t>(degrees_.size()) == rates_.num_replicas) {
      return;
    }
    for (std::int32_t degree = highest; degree >= 1; --degree) {
      if (rates_.reduced[static_cast<std::size_t>(degree)].num_microbatches > 0) {
        degrees_.push_back(degree);
        extend(degree);
        degrees_.pop_back();
      }
    }
  }
  [[nodiscard]] double of(const std::vector<std::int32_t>& degrees) const {
    // Least demanding seats first take the most damaged sites that can fill them.
    std::vector<std::int32_t> seats;
    for (const std::int32_t degree : degrees) {
      seats.insert(seats.end(), static_cast<std::size_t>(rates_.sites_per_replica), degree);
    }
    std::sort(seats.begin(), seats.end());
    std::int64_t open = static_cast<std::int64_t>(seats.size());
    auto site = census_.num_lost.begin();
    for (const std::int32_t degree : seats) {
      site = std::find_if(site, census_.num_lost.end(), [&](std::int32_t lost) {
        return rates_.tp - lost >= degree;
      });
      if (site == census_.num_lost.end()) {
        break;
      }
      ++site;
      --open;
    }
    if (open > census_.num_healthy) {
      return 0.0;
    }
    const auto reduced = static_cast<std::int64_t>(degrees.size());
    const std::int64_t full = std::min(rates_.num_replicas - reduced,
                                       (census_.num_healthy - open) / rates_.sites_per_replica);
    auto batch = static_cast<double>(full);
    for (const std::int32_t degree : degrees) {
      batch += rates_.reduced[static_cast<std::size_t>(degree)].share;
    }
    const std::int32_t lowest = degrees.empty() ? rates_.tp : degrees.back();
    return batch / static_cast<double>(rates_.num_replicas) /
           rates_.healthy_slowdown[static_cast<std::size_t>(lowest)];
  }

  const PolicyRates& rates_;
  const SiteCensus& census_;
  std::vector<std::int32_t> degrees_;  // descending
  double best_ = 0.0;
};

}  // namespace

TEST_CASE("an operation uses only what the census has", "[planner][policy]") {
  tests::Dice dice(61);
  for (int trial = 0; trial < 3000; ++trial) {
    const PolicyRates rates = random_rates(dice);
    const SiteCensus census = random_census(rates, dice);
    for (const PolicyKind policy : kAllPolicies) {
      CAPTURE(to_string(policy));
      const Operation operation = plan_operation(policy, rates, census);
      REQUIRE(operation.throughput >= 0.0);
      REQUIRE(operation.throughput <= 1.0 + kNoise);
      REQUIRE(operation.num_full_sites >= 0);
      REQUIRE(operation.num_spare_sites >= 0);
      REQUIRE(operation.num_full_sites + operation.num_spare_sites +
                  static_cast<std::int64_t>(operation.filler_degrees.size()) <=
              census.num_healthy);
      REQUIRE(operation.damaged_degrees.size() <= census.num_lost.size());
      for (std::size_t i = 0; i < operation.damaged_degrees.size(); ++i) {
        REQUIRE(operation.damaged_degrees[i] >= 0);
        REQUIRE(operation.damaged_degrees[i] <= rates.tp - census.num_lost[i]);
        REQUIRE(operation.damaged_degrees[i] <= operation.full_degree);
      }
      for (const std::int32_t degree : operation.filler_degrees) {
        REQUIRE(degree > 0);
        REQUIRE(degree < operation.full_degree);
      }
      const std::int64_t used = operation.num_full_sites + num_used(operation.damaged_degrees) +
                                num_used(operation.filler_degrees);
      REQUIRE((!runs_whole_replicas(policy) || used % rates.sites_per_replica == 0));
      REQUIRE(used <= rates.num_job_sites());
      REQUIRE((used > 0) == (operation.throughput > 0.0));
    }
  }
}

TEST_CASE("an undamaged job runs at full speed and keeps the rest in reserve",
          "[planner][policy]") {
  tests::Dice dice(62);
  for (int trial = 0; trial < 100; ++trial) {
    const PolicyRates rates = random_rates(dice);
    const std::int64_t spares = dice.between(0, 5);
    const SiteCensus census{.num_healthy = rates.num_job_sites() + spares};
    for (const PolicyKind policy : kAllPolicies) {
      const Operation operation = plan_operation(policy, rates, census);
      REQUIRE(operation.throughput == 1.0);
      REQUIRE(operation.full_degree == rates.tp);
      REQUIRE(operation.num_full_sites == rates.num_job_sites());
      REQUIRE(operation.num_spare_sites == spares);
      REQUIRE(operation.filler_degrees.empty());
      REQUIRE(spares_needed(policy, rates, census) == 0);
    }
  }
}

TEST_CASE("one more lost GPU never raises the throughput", "[planner][policy]") {
  tests::Dice dice(63);
  for (int trial = 0; trial < 1000; ++trial) {
    const PolicyRates rates = random_rates(dice);
    SiteCensus census = random_census(rates, dice);
    std::vector<double> before(kAllPolicies.size(), 1.0);
    for (int loss = 0; loss < 10; ++loss) {
      for (const PolicyKind policy : kAllPolicies) {
        CAPTURE(to_string(policy));
        const double now = plan_operation(policy, rates, census).throughput;
        REQUIRE(now <= before[static_cast<std::size_t>(policy)] + kNoise);
        before[static_cast<std::size_t>(policy)] = now;
      }
      census = with_one_more_lost(census, rates, dice);
    }
  }
}

TEST_CASE("ntp is never slower than dropping replicas, and that never slower than waiting",
          "[planner][policy]") {
  tests::Dice dice(64);
  for (int trial = 0; trial < 2000; ++trial) {
    const PolicyRates rates = random_rates(dice);
    const SiteCensus census = random_census(rates, dice);
    const auto throughput = [&](PolicyKind policy) {
      return plan_operation(policy, rates, census).throughput;
    };
    REQUIRE(throughput(PolicyKind::ntp) >= throughput(PolicyKind::dp_drop) - kNoise);
    REQUIRE(throughput(PolicyKind::dp_drop) >= throughput(PolicyKind::restart));
    REQUIRE(throughput(PolicyKind::uniform_tp) >= throughput(PolicyKind::dp_drop));
    REQUIRE(throughput(PolicyKind::spare_domain) == throughput(PolicyKind::restart));
  }
}

TEST_CASE("ntp finds the best mix of replicas there is", "[planner][policy]") {
  tests::Dice dice(65);
  for (int trial = 0; trial < 1500; ++trial) {
    const auto tp = static_cast<std::int32_t>(dice.between(1, 5));
    const PolicyRates rates = random_rates(dice, tp, dice.between(1, 3));
    const SiteCensus census = random_census(rates, dice);
    CAPTURE(tp, rates.sites_per_replica, rates.num_replicas, census.num_healthy);
    CAPTURE(census.num_lost);
    REQUIRE(plan_operation(PolicyKind::ntp, rates, census).throughput ==
            Approx(BestMix(rates, census).throughput()).epsilon(1e-12));
  }
}

TEST_CASE("damaged sites are packed into the fewest replicas", "[planner][policy]") {
  tests::Dice dice(66);
  for (int trial = 0; trial < 300; ++trial) {
    PolicyRates rates = random_rates(dice);
    for (std::size_t degree = 1; degree < rates.reduced.size(); ++degree) {
      rates.reduced[degree].share = 1.0;  // every degree keeps up: nothing is dropped
      rates.reduced[degree].num_microbatches = 1;
      rates.healthy_slowdown[degree] = 1.0;
    }
    SiteCensus census = random_census(rates, dice);
    for (std::int32_t& lost : census.num_lost) {
      lost = std::min(lost, rates.tp - 1);
    }
    if (rates.tp == 1) {
      continue;
    }
    const std::int64_t extra = census.num_healthy + census.num_damaged() - rates.num_job_sites();
    const std::int64_t in_use = std::max<std::int64_t>(0, census.num_damaged() - extra);
    const std::int64_t reduced = (in_use + rates.sites_per_replica - 1) / rates.sites_per_replica;
    for (const PolicyKind policy : {PolicyKind::ntp, PolicyKind::ntp_pw}) {
      const Operation operation = plan_operation(policy, rates, census);
      REQUIRE(operation.throughput == Approx(1.0));
      REQUIRE(operation.num_full_sites == (rates.num_replicas - reduced) * rates.sites_per_replica);
    }
  }
}

TEST_CASE("a replica whose resharding would slow the others by more than it adds is left out",
          "[planner][policy]") {
  // Four replicas of one site at TP 8. With TP 1 in use everybody is 1.5 times as slow.
  PolicyRates rates{.tp = 8,
                    .sites_per_replica = 1,
                    .num_replicas = 4,
                    .reduced = std::vector<DegreeRate>(9),
                    .uniform = std::vector<double>(9, 0.0),
                    .healthy_slowdown = std::vector<double>(9, 1.0)};
  rates.reduced[1] = {.num_microbatches = 1, .share = 0.1};
  rates.reduced[7] = {.num_microbatches = 8, .share = 0.8};
  rates.healthy_slowdown[1] = 1.5;
  const Operation operation =
      plan_operation(PolicyKind::ntp, rates, {.num_healthy = 2, .num_lost = {7, 1}});
  CHECK(operation.throughput == Approx(2.8 / 4));
  CHECK(operation.damaged_degrees == std::vector<std::int32_t>{0, 7});
  // A site with six GPUs left runs at TP 1 only, which is not worth it; one with seven at TP 7.
  CHECK(plan_operation(PolicyKind::ntp, rates, {.num_healthy = 3, .num_lost = {2}}).throughput ==
        Approx(0.75));
}

TEST_CASE("the spares that a policy needs give it its full batch", "[planner][policy]") {
  tests::Dice dice(67);
  for (int trial = 0; trial < 1000; ++trial) {
    const PolicyRates rates = random_rates(dice);
    SiteCensus census = random_census(rates, dice);
    census.num_healthy =
        rates.num_job_sites() - std::min(rates.num_job_sites(), census.num_damaged());
    census.num_lost.resize(static_cast<std::size_t>(rates.num_job_sites() - census.num_healthy));
    for (const PolicyKind policy : kAllPolicies) {
      CAPTURE(to_string(policy));
      const std::int64_t needed = spares_needed(policy, rates, census);
      REQUIRE(needed >= 0);
      REQUIRE(needed <= census.num_damaged());
      SiteCensus more = census;
      more.num_healthy += needed;
      const double throughput = plan_operation(policy, rates, more).throughput;
      switch (policy) {
        case PolicyKind::restart:
        case PolicyKind::spare_domain:
        case PolicyKind::dp_drop:
        case PolicyKind::uniform_tp:
        case PolicyKind::recycle:
        case PolicyKind::oobleck:
        case PolicyKind::train_mover:
          REQUIRE(throughput == 1.0);
          break;
        case PolicyKind::adaptive: {
          std::int64_t fewest = census.num_damaged();
          for (const Alternative& alternative : rates.alternatives) {
            fewest = std::min(fewest, spares_needed(alternative.policy, rates, census));
          }
          REQUIRE(needed == fewest);
          break;
        }
        case PolicyKind::ntp:
        case PolicyKind::ntp_pw: {
          // Whole replicas more, or nothing that is damaged left.
          const std::int64_t replicas = needed / rates.sites_per_replica;
          REQUIRE((needed == census.num_damaged() || needed % rates.sites_per_replica == 0));
          PolicyRates free = rates;
          free.healthy_slowdown.assign(free.healthy_slowdown.size(), 1.0);
          const double batch = plan_operation(policy, free, census).throughput *
                                   static_cast<double>(rates.num_replicas) +
                               static_cast<double>(replicas);
          REQUIRE((needed == census.num_damaged() ||
                   batch >= static_cast<double>(rates.num_replicas) - kNoise));
          break;
        }
      }
    }
  }
}

TEST_CASE("a fixed batch is whole or the job waits", "[planner][policy]") {
  tests::Dice dice(72);
  for (int trial = 0; trial < 2000; ++trial) {
    PolicyRates rates = random_rates(dice);
    rates.fixed_batch = true;
    offer_all(rates);
    SiteCensus census = random_census(rates, dice);
    for (const PolicyKind policy : kAllPolicies) {
      CAPTURE(to_string(policy), census.num_healthy, census.num_lost, rates.sites_per_replica);
      const Operation operation = plan_operation(policy, rates, census);
      if (!runs_whole_replicas(policy) || operation.throughput <= 0.0) {
        continue;
      }
      double batch = 0.0;  // in replicas
      for (const auto* degrees : {&operation.damaged_degrees, &operation.filler_degrees}) {
        for (const std::int32_t degree : *degrees) {
          const double share = degree == operation.full_degree
                                   ? 1.0
                                   : rates.reduced[static_cast<std::size_t>(degree)].share;
          batch += degree > 0 ? share : 0.0;
        }
      }
      batch = (batch + static_cast<double>(operation.num_full_sites)) /
              static_cast<double>(rates.sites_per_replica);
      REQUIRE(batch >= static_cast<double>(rates.num_replicas) - 1e-9);
      REQUIRE(operation.num_full_sites +
                  static_cast<std::int64_t>(operation.filler_degrees.size()) +
                  operation.num_spare_sites <=
              census.num_healthy);
    }
    // As many spares as ntp says it needs are enough.
    census.num_healthy =
        rates.num_job_sites() - std::min(rates.num_job_sites(), census.num_damaged());
    census.num_lost.resize(static_cast<std::size_t>(rates.num_job_sites() - census.num_healthy));
    const std::int64_t needed = spares_needed(PolicyKind::ntp, rates, census);
    census.num_healthy += needed;
    CAPTURE(needed, census.num_healthy, census.num_lost);
    REQUIRE(plan_operation(PolicyKind::ntp, rates, census).throughput > 0.0);
    REQUIRE((needed == 0 || plan_operation(PolicyKind::dp_drop, rates, census).throughput ==
                                (needed == census.num_damaged() ? 1.0 : 0.0)));
  }
}

TEST_CASE("ntp leaves out a replica that would cost more by being hit than it adds",
          "[planner][policy]") {
  // Three replicas of two sites of 8; one GPU is lost, and a replica at degree 7 does 2 % of a
  // batch on 14 GPUs. At r hits of a GPU a second, each of which costs c, it is worth its while
  // where 2.02 exp(-46 r c) > 2 exp(-32 r c): r c < ln(1.01) / 14 = 0.000711.
  PolicyRates rates{.tp = 8,
                    .sites_per_replica = 2,
                    .num_replicas = 3,
                    .reduced = std::vector<DegreeRate>(9),
                    .healthy_slowdown = std::vector<double>(9, 1.0)};
  rates.reduced[7] = {.num_microbatches = 1, .share = 0.02};
  const SiteCensus census{.num_healthy = 5, .num_lost = {1}};
  const auto plan = [&](PolicyKind policy, double cost) {
    rates.interruptions = {.per_gpu_second = 1e-6, .cost = Seconds{cost}};
    return plan_operation(policy, rates, census);
  };
  CHECK(plan(PolicyKind::ntp, 710.0).damaged_degrees == std::vector<std::int32_t>{7});
  CHECK(plan(PolicyKind::ntp, 710.0).num_active_gpus() == 46);
  CHECK(plan(PolicyKind::ntp, 712.0).throughput == plan(PolicyKind::dp_drop, 712.0).throughput);
  CHECK(plan(PolicyKind::ntp, 712.0).num_active_gpus() == 32);
}

TEST_CASE("every policy has a name of its own", "[planner][policy]") {
  std::set<std::string> names;
  for (const PolicyKind policy : kAllPolicies) {
    names.insert(std::string(to_string(policy)));
  }
  CHECK(names == std::set<std::string>{"restart",
                                       "spare_domain",
                                       "dp_drop",
                                       "uniform_tp",
                                       "ntp",
                                       "ntp_pw",
                                       "recycle",
                                       "oobleck",
                                       "train_mover",
                                       "adaptive"});
}
