#include "planner/rates.hpp"

#include "tests/catch.hpp"
#include "tests/dice.hpp"
#include "tests/planner/paper_replica.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>

using namespace runflat;
using namespace runflat::planner;

namespace {

/// A cost that grows with the batch and falls with degree and power; some degrees cannot run.
struct RandomReplica {
  explicit RandomReplica(tests::Dice& dice)
      : num_heads(dice.between(1, 64)),
        lowest(dice.between(1, 8)),
        multiple(dice.one_in(2) ? 1 : dice.between(1, 4)),
        fixed(static_cast<double>(dice.between(0, 50)) / 100.0),
        reshard(static_cast<double>(dice.between(0, 20)) / 100.0),
        exponent(static_cast<double>(dice.between(20, 100)) / 100.0) {}

  [[nodiscard]] ReplicaTime time() const {
    return [*this](const ReplicaQuery& query) -> Expected<ReplicaStep, Infeasible> {
      if (query.tp_size < lowest) {
        return Infeasible{"too small"};
      }
      const auto heads = (num_heads + query.tp_size - 1) / query.tp_size;
      const double work = static_cast<double>(heads) + 8.0 / static_cast<double>(query.tp_size);
      const auto spread = static_cast<double>(query.tp_size - query.sync_degree);
      if (query.num_microbatches % multiple != 0) {
        return Infeasible{"the schedule needs a multiple"};
      }
      return ReplicaStep(Seconds{(fixed + static_cast<double>(query.num_microbatches)) * work /
                                     std::pow(query.power, exponent) +
                                 reshard * spread});
    };
  }

  std::int64_t num_heads;
  std::int64_t lowest;
  std::int64_t multiple;  ///< of microbatches that the schedule takes
  double fixed;
  double reshard;
  double exponent;
};

HealthyJob random_job(const RandomReplica& replica, tests::Dice& dice) {
  return {.tp = dice.between(8, 32),
          .sites_per_replica = dice.between(1, 16),
          .num_replicas = dice.between(1, 64),
          .num_microbatches = replica.multiple * dice.between(1, 10)};
}

PowerLimits random_power(const HealthyJob& job, tests::Dice& dice) {
  return {.max_boost = 1.0 + 0.01 * static_cast<double>(dice.between(0, 40)),
          .rack_headroom = 1.0 + 0.01 * static_cast<double>(dice.between(0, 30)),
          .rack_gpus = job.tp * dice.between(1, 4)};
}

Seconds step_of(const ReplicaTime& time, const ReplicaQuery& query) {
  return time(query).value().time;
}

bool any_degree(std::int64_t /*degree*/) {
  return true;
}

}  // namespace

TEST_CASE("a reduced batch is the largest that keeps up with the healthy replicas",
          "[planner][rates]") {
  tests::Dice dice(51);
  for (int trial = 0; trial < 200; ++trial) {
    const RandomReplica replica(dice);
    const ReplicaTime time = replica.time();
    const HealthyJob job = random_job(replica, dice);
    const auto rates = compute_rates(PolicyKind::ntp, job, {}, any_degree, time);
    REQUIRE(rates.has_value());
    const auto slack = [](Seconds limit) { return limit * (1.0 + 1e-8); };
    for (std::int64_t degree = 1; degree <= job.tp; ++degree) {
      const auto index = static_cast<std::size_t>(degree);
      const DegreeRate& rate = rates->reduced[index];
      const Seconds limit = step_of(
          time,
          {.tp_size = job.tp, .sync_degree = degree, .num_microbatches = job.num_microbatches});
      const Seconds healthy = step_of(
          time,
          {.tp_size = job.tp, .sync_degree = job.tp, .num_microbatches = job.num_microbatches});
      REQUIRE(rates->healthy_slowdown[index] == Approx(limit / healthy));
      REQUIRE(rate.power == 1.0);
      REQUIRE(rate.share == Approx(static_cast<double>(rate.num_microbatches) /
                                   static_cast<double>(job.num_microbatches)));
      REQUIRE(rate.num_microbatches <= job.num_microbatches);
      const auto at = [&](std::int64_t batch) {
        return time({.tp_size = degree, .sync_degree = degree, .num_microbatches = batch});
      };
      if (rate.num_microbatches > 0) {
        REQUIRE(at(rate.num_microbatches)->time <= slack(limit));
      }
      if (rate.num_microbatches < job.num_microbatches) {
        const auto more = at(rate.num_microbatches + replica.multiple);
        REQUIRE((!more || more->time > limit));
        REQUIRE_FALSE(rate.obstacle.empty());
      }
      const auto alone = at(job.num_microbatches);
      REQUIRE(rates->uniform[index] == Approx(alone ? healthy / alone->time : 0.0));
    }
    REQUIRE(rates->reduced[static_cast<std::size_t>(job.tp)].share == 1.0);
    REQUIRE(rates->uniform[static_cast<std::size_t>(job.tp)] == 1.0);
  }
}

TEST_CASE("a boost is the least power that keeps the batch, within the rack's limits",
          "[planner][rates]") {
  tests::Dice dice(52);
  int num_boosted = 0;
  int num_limited = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const RandomReplica replica(dice);
    const ReplicaTime time = replica.time();
    const HealthyJob job = random_job(replica, dice);
    const PowerLimits power = random_power(job, dice);
    const auto plain = compute_rates(PolicyKind::ntp, job, power, any_degree, time);
    const auto boosted = compute_rates(PolicyKind::ntp_pw, job, power, any_degree, time);
    REQUIRE(boosted.has_value());
    for (std::int64_t degree = 1; degree <= job.tp; ++degree) {
      const auto index = static_cast<std::size_t>(degree);
      const DegreeRate& rate = boosted->reduced[index];
      const double most = power.boost(job.tp, degree);
      REQUIRE(rate.power >= 1.0);
      REQUIRE(rate.power <= most);
      REQUIRE(rate.num_microbatches >= plain->reduced[index].num_microbatches);
      const Seconds limit = step_of(
          time,
          {.tp_size = job.tp, .sync_degree = degree, .num_microbatches = job.num_microbatches});
      const auto at = [&](std::int64_t batch, double multiple) {
        return time({.tp_size = degree,
                     .sync_degree = degree,
                     .num_microbatches = batch,
                     .power = multiple});
      };
      if (rate.num_microbatches > 0) {
        REQUIRE(at(rate.num_microbatches, rate.power)->time <= limit * (1.0 + 1e-8));
      }
      if (rate.num_microbatches < job.num_microbatches) {
        REQUIRE(rate.power == most);
        const auto more = at(rate.num_microbatches + replica.multiple, most);
        REQUIRE((!more || more->time > limit));
        ++num_limited;
      } else if (rate.power > 1.0) {
        REQUIRE(at(job.num_microbatches, rate.power - 1e-5)->time > limit);
        ++num_boosted;
      }
    }
  }
  CHECK(num_boosted > 100);
  CHECK(num_limited > 100);
}

TEST_CASE("a rack gives a reduced group what the lost GPUs leave and its own headroom",
          "[planner][rates]") {
  // (headroom * rack - others at nominal) / survivors, at most max_boost.
  const PowerLimits rack{.max_boost = 1.3, .rack_headroom = 1.0, .rack_gpus = 72};
  CHECK(rack.boost(32, 32) == 1.0);
  CHECK(rack.boost(32, 30) == Approx(32.0 / 30.0));
  CHECK(rack.boost(8, 6) == 1.3);  // 8 / 6 is more than a GPU may draw
  const PowerLimits roomy{.max_boost = 1.3, .rack_headroom = 1.05, .rack_gpus = 72};
  CHECK(roomy.boost(32, 32) == Approx((1.05 * 72 - 40) / 32));
  const PowerLimits fixed{.max_boost = 1.0, .rack_headroom = 1.3, .rack_gpus = 8};
  CHECK(fixed.boost(8, 4) == 1.0);
}

TEST_CASE("a job that cannot run when healthy is infeasible with the reason", "[planner][rates]") {
  const ReplicaTime never = [](const ReplicaQuery&) -> Expected<ReplicaStep, Infeasible> {
    return Infeasible{"no memory"};
  };
  const auto rates = compute_rates(PolicyKind::ntp, kPaperJob, {}, any_degree, never);
  REQUIRE_FALSE(rates.has_value());
  CHECK(rates.error().reason == "no memory");
}

TEST_CASE("degrees that Megatron cannot divide are no uniform degrees", "[planner][rates]") {
  const auto rates = compute_rates(
      PolicyKind::uniform_tp,
      kPaperJob,
      {},
      [](std::int64_t degree) { return degree == 32; },
      paper_replica_time());
  CHECK(rates->uniform[32] == 1.0);
  CHECK(rates->uniform[30] == 0.0);
}

TEST_CASE(
    "the paper's model runs 7 of 8 sequences at TP 30 and 6 at TP 28, or all of them at more "
    "power",
    "[planner][rates][golden]") {
  // reference/ntp.md section 2.2: slowdown 1.142 and 1.187; power 1.096 for 32/30, 1.25 for 32/28.
  const auto ntp = compute_rates(PolicyKind::ntp, kPaperJob, {}, any_degree, paper_replica_time());
  CHECK(ntp->reduced[30].num_microbatches == 7);
  CHECK(ntp->reduced[28].num_microbatches == 6);
  CHECK(1.0 / ntp->uniform[30] == Approx(1.142).margin(5e-4));
  CHECK(1.0 / ntp->uniform[28] == Approx(1.187).margin(5e-4));
  CHECK(ntp->reduced[27].num_microbatches == 0);

  // The fit reaches its figures where compute alone sets the pace (all of it scales with 1 / TP).
  const ReplicaTime compute_only =
      [](const ReplicaQuery& query) -> Expected<ReplicaStep, Infeasible> {
    return ReplicaStep(Seconds{static_cast<double>(query.num_microbatches) /
                               static_cast<double>(query.tp_size) / paper_speed(query.power)});
  };
  const PowerLimits roomy{.max_boost = 1.3, .rack_headroom = 1.3, .rack_gpus = 32};
  const auto boosted =
      compute_rates(PolicyKind::ntp_pw, kPaperJob, roomy, any_degree, compute_only);
  CHECK(boosted->reduced[30].share == 1.0);
  CHECK(boosted->reduced[30].power == Approx(1.096).margin(1e-3));
  CHECK(boosted->reduced[28].share == 1.0);
  CHECK(boosted->reduced[28].power == Approx(1.25).margin(1e-2));
}
