#include "sim/site_pool.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

/// Everything that follows from the set of faults alone, recomputed each time.
class SlowPool {
 public:
  SlowPool(const SiteShape& shape, const std::vector<Fault>& faults)
      : shape_(shape), is_down_(static_cast<std::size_t>(shape.cluster.num_gpus()), false) {
    for (const Fault& fault : faults) {
      const ComponentRange gpus = components_hit(fault, shape.cluster, BlastRadius::gpu);
      std::fill_n(is_down_.begin() + gpus.first, gpus.num, true);
    }
  }
  [[nodiscard]] bool is_down(std::int32_t gpu) const {
    return is_down_[static_cast<std::size_t>(gpu)];
  }
  [[nodiscard]] std::int64_t num_failed() const {
    return std::count(is_down_.begin(), is_down_.end(), true);
  }
  /// The healthy GPUs of a domain are dealt to its sites in order.
  [[nodiscard]] std::vector<std::int32_t> num_lost() const {
    std::vector<std::int32_t> lost;
    for (std::int32_t domain = 0; domain < shape_.cluster.num_domains(); ++domain) {
      const auto first = is_down_.begin() + domain * shape_.cluster.domain_size;
      auto left = std::count(first, first + shape_.cluster.domain_size, false);
      for (std::int32_t site = 0; site < shape_.sites_per_domain(); ++site) {
        const auto dealt = std::min<std::ptrdiff_t>(left, shape_.tp);
        lost.push_back(shape_.tp - static_cast<std::int32_t>(dealt));
        left -= dealt;
      }
    }
    return lost;
  }
  [[nodiscard]] SiteCensus census(std::int32_t num_sites) const {
    std::vector<std::int32_t> lost = num_lost();
    lost.resize(static_cast<std::size_t>(num_sites));
    SiteCensus census{.num_healthy = std::count(lost.begin(), lost.end(), 0), .num_lost = {}};
    std::sort(lost.begin(), lost.end(), std::greater<>());
    lost.resize(lost.size() - static_cast<std::size_t>(census.num_healthy));
    census.num_lost = lost;
    return census;
  }

 private:
  SiteShape shape_;
  std::vector<bool> is_down_;
};

bool same(const SiteCensus& a, const SiteCensus& b) {
  return a.num_healthy == b.num_healthy && a.num_lost == b.num_lost;
}

/// Asks a copy of the pool: a fault of an active GPU, and only of one, hits the job.
bool is_active(SitePool pool, std::int32_t gpu) {
  return pool.fail({.component = gpu, .blast_radius = BlastRadius::gpu});
}

std::vector<bool> active_gpus(const SitePool& pool) {
  std::vector<bool> active;
  for (std::int32_t gpu = 0; gpu < pool.num_gpus(); ++gpu) {
    active.push_back(is_active(pool, gpu));
  }
  return active;
}

Fault random_fault(const ClusterShape& shape, tests::Dice& dice) {
  const auto radius = static_cast<BlastRadius>(dice.one_in(3) ? dice.between(0, 3) : 0);
  return {.component = static_cast<std::int32_t>(dice.between(0, shape.num_components(radius) - 1)),
          .blast_radius = radius};
}

Operation random_operation(const SiteCensus& census, std::int32_t tp, tests::Dice& dice) {
  Operation operation;
  operation.full_degree = dice.one_in(4) ? static_cast<std::int32_t>(dice.between(0, tp)) : tp;
  for (const std::int32_t lost : census.num_lost) {
    const std::int32_t most = std::min(tp - lost, operation.full_degree);
    operation.damaged_degrees.push_back(static_cast<std::int32_t>(dice.between(0, most)));
  }
  const std::int64_t fillers = dice.between(0, census.num_healthy);
  if (operation.full_degree > 0) {
    for (std::int64_t i = 0; i < fillers; ++i) {
      operation.filler_degrees.push_back(
          static_cast<std::int32_t>(dice.between(0, operation.full_degree - 1)));
    }
    operation.num_full_sites = dice.between(0, census.num_healthy - fillers);
  }
  return operation;
}

std::int64_t num_active(const Operation& operation) {
  std::int64_t sum = operation.num_full_sites * operation.full_degree;
  for (const auto* degrees : {&operation.damaged_degrees, &operation.filler_degrees}) {
    for (const std::int32_t degree : *degrees) {
      sum += degree;
    }
  }
  return sum;
}

SiteShape random_shape(tests::Dice& dice) {
  const std::vector<SiteShape> shapes = {
      {.cluster = {.num_nodes = 6, .gpus_per_node = 8, .domain_size = 8}, .tp = 8},
      {.cluster = {.num_nodes = 36, .gpus_per_node = 4, .domain_size = 72}, .tp = 8},
      {.cluster = {.num_nodes = 36, .gpus_per_node = 4, .domain_size = 72}, .tp = 32},
      {.cluster = {.num_nodes = 5, .gpus_per_node = 8, .domain_size = 4}, .tp = 2},
      {.cluster = {.num_nodes = 4, .gpus_per_node = 6, .domain_size = 12}, .tp = 5},
      {.cluster = {.num_nodes = 7, .gpus_per_node = 1, .domain_size = 1}, .tp = 1}};
  SiteShape shape = dice.pick(shapes);
  shape.num_job_sites = static_cast<std::int32_t>(dice.between(1, shape.num_sites()));
  return shape;
}

}  // namespace

TEST_CASE("a site pool agrees with counting the active faults", "[sim][site_pool]") {
  tests::Dice dice(23);
  for (int trial = 0; trial < 60; ++trial) {
    const SiteShape shape = random_shape(dice);
    CAPTURE(shape.cluster.domain_size, shape.tp, shape.num_job_sites);
    SitePool pool(shape);
    REQUIRE(pool.num_active_gpus() == shape.num_job_sites * shape.tp);
    std::vector<Fault> faults;
    for (int i = 0; i < 60; ++i) {
      if (!faults.empty() && dice.one_in(2)) {
        const std::size_t repaired = dice.index(faults.size());
        pool.repair(faults[repaired]);
        faults.erase(faults.begin() + static_cast<std::ptrdiff_t>(repaired));
      } else {
        const Fault fault = random_fault(shape.cluster, dice);
        const ComponentRange hit = components_hit(fault, shape.cluster, BlastRadius::gpu);
        bool hits_active = false;
        for (std::int32_t gpu = hit.first; gpu < hit.first + hit.num; ++gpu) {
          hits_active = hits_active || is_active(pool, gpu);
        }
        REQUIRE(pool.fail(fault) == hits_active);
        faults.push_back(fault);
      }
      const SlowPool slow(shape, faults);
      const std::vector<std::int32_t> lost = slow.num_lost();
      for (std::int32_t site = 0; site < shape.num_sites(); ++site) {
        REQUIRE(pool.num_lost(site) == lost[static_cast<std::size_t>(site)]);
      }
      REQUIRE(pool.num_failed_gpus() == slow.num_failed());
      REQUIRE(same(pool.census(), slow.census(shape.num_sites())));
      REQUIRE(same(pool.job_census(), slow.census(shape.num_job_sites)));
      if (dice.one_in(2)) {
        const Operation operation = random_operation(pool.census(), shape.tp, dice);
        pool.apply(operation);
        REQUIRE(pool.num_active_gpus() == num_active(operation));
      }
    }
  }
}

TEST_CASE("the active GPUs of a domain are its first healthy ones, as many as the roles take",
          "[sim][site_pool]") {
  tests::Dice dice(24);
  for (int trial = 0; trial < 40; ++trial) {
    const SiteShape shape = random_shape(dice);
    SitePool pool(shape);
    std::vector<Fault> faults;
    for (int i = 0; i < 8; ++i) {
      faults.push_back(random_fault(shape.cluster, dice));
      pool.fail(faults.back());
      if (dice.one_in(2)) {
        pool.apply(random_operation(pool.census(), shape.tp, dice));
      }
      const SlowPool slow(shape, faults);
      const std::vector<bool> active = active_gpus(pool);
      REQUIRE(std::count(active.begin(), active.end(), true) == pool.num_active_gpus());
      for (std::int32_t gpu = 0; gpu < shape.cluster.num_gpus(); ++gpu) {
        if (!active[static_cast<std::size_t>(gpu)]) {
          continue;
        }
        REQUIRE_FALSE(slow.is_down(gpu));
        const std::int32_t first = gpu - gpu % shape.cluster.domain_size;
        for (std::int32_t other = first; other < gpu; ++other) {
          REQUIRE((slow.is_down(other) || active[static_cast<std::size_t>(other)]));
        }
      }
    }
  }
}

TEST_CASE("an operation applied again changes no role", "[sim][site_pool]") {
  tests::Dice dice(25);
  for (int trial = 0; trial < 40; ++trial) {
    const SiteShape shape = random_shape(dice);
    SitePool pool(shape);
    for (int i = 0; i < 5; ++i) {
      pool.fail(random_fault(shape.cluster, dice));
    }
    const Operation operation = random_operation(pool.census(), shape.tp, dice);
    pool.apply(operation);
    const std::vector<bool> active = active_gpus(pool);
    pool.apply(operation);
    REQUIRE(active_gpus(pool) == active);
  }
}

TEST_CASE("full sites stay where they are while there is work for all of them",
          "[sim][site_pool]") {
  SitePool pool({.cluster = {.num_nodes = 4, .gpus_per_node = 8, .domain_size = 8},
                 .tp = 8,
                 .num_job_sites = 3});
  pool.fail({.component = 1, .blast_radius = BlastRadius::node});
  pool.apply({.throughput = 1.0, .full_degree = 8, .num_full_sites = 3});
  CHECK(is_active(pool, 24));  // the spare took over
  pool.repair({.component = 1, .blast_radius = BlastRadius::node});
  pool.apply({.throughput = 1.0, .full_degree = 8, .num_full_sites = 3, .num_spare_sites = 1});
  CHECK(is_active(pool, 24));
  CHECK_FALSE(is_active(pool, 8));  // the repaired one is the spare now
}

TEST_CASE("GPUs beyond a whole number of sites replace lost ones", "[sim][site_pool]") {
  // 72 = 2 * 32 + 8: eight losses damage nothing, the ninth does.
  SitePool pool({.cluster = {.num_nodes = 18, .gpus_per_node = 4, .domain_size = 72},
                 .tp = 32,
                 .num_job_sites = 2});
  for (std::int32_t gpu = 0; gpu < 8; ++gpu) {
    pool.fail({.component = 9 * gpu, .blast_radius = BlastRadius::gpu});
    CHECK(pool.census().num_damaged() == 0);
    CHECK(pool.num_active_gpus() == 64);
  }
  pool.fail({.component = 1, .blast_radius = BlastRadius::gpu});
  CHECK(pool.census().num_lost == std::vector<std::int32_t>{1});
}

TEST_CASE("impossible pools and operations are refused", "[sim][site_pool]") {
  const ClusterShape cluster{.num_nodes = 4, .gpus_per_node = 4, .domain_size = 8};
  CHECK_THROWS_AS(SitePool({.cluster = cluster, .tp = 16, .num_job_sites = 1}), InvalidArgument);
  CHECK_THROWS_AS(SitePool({.cluster = cluster, .tp = 8, .num_job_sites = 3}), InvalidArgument);
  CHECK_THROWS_AS(SitePool({.cluster = cluster, .tp = 8, .num_job_sites = 0}), InvalidArgument);
  const ClusterShape broken{.num_nodes = 3, .gpus_per_node = 4, .domain_size = 8};
  CHECK_THROWS_AS(SitePool({.cluster = broken, .tp = 8, .num_job_sites = 1}), InvalidArgument);
  SitePool pool({.cluster = cluster, .tp = 8, .num_job_sites = 2});
  CHECK_THROWS_AS(pool.apply({.full_degree = 8, .num_full_sites = 3}), InvalidArgument);
  CHECK_THROWS_AS(pool.apply({.full_degree = 8, .damaged_degrees = {7}}), InvalidArgument);
}
