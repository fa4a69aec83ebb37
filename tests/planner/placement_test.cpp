#include "planner/placement.hpp"

#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

using namespace runflat;
using namespace runflat::planner;

namespace {

std::int64_t num_cells(const ParallelSizes& sizes) {
  return sizes.cp * sizes.dp * sizes.pp;
}

/// State moves, then moves: what a placement minimises.
using Price = std::pair<std::int64_t, std::int64_t>;

Price price_of(const PlacementRequest& request, const std::vector<std::int64_t>& site_of_cell) {
  const std::int64_t per_stage = request.sizes.cp * request.sizes.dp;
  Price price;
  for (std::int64_t cell = 0; cell < num_cells(request.sizes); ++cell) {
    const std::int64_t site = site_of_cell[static_cast<std::size_t>(cell)];
    if (site >= 0) {
      const bool has_state =
          site < num_cells(request.sizes) && site / per_stage == cell / per_stage;
      price.first += has_state ? 0 : 1;
      price.second += site == cell ? 0 : 1;
    }
  }
  return price;
}

/// The least price over every way to seat the running cells.
class EveryPlacement {
 public:
  explicit EveryPlacement(const PlacementRequest& request)
      : request_(request),
        site_of_cell_(static_cast<std::size_t>(num_cells(request.sizes)), -1),
        is_taken_(request.num_lost.size(), false) {
    seat(0);
  }
  [[nodiscard]] std::optional<Price> best() const { return best_; }

 private:
  void seat(std::size_t cell) {
    if (cell == site_of_cell_.size()) {
      const Price price = price_of(request_, site_of_cell_);
      best_ = best_ ? std::min(*best_, price) : price;
      return;
    }
    const auto dp = cell / static_cast<std::size_t>(request_.sizes.cp) %
                    static_cast<std::size_t>(request_.sizes.dp);
    const std::int32_t degree = request_.replica_degree[dp];
    if (degree == 0) {
      seat(cell + 1);
      return;
    }
    for (std::size_t site = 0; site < is_taken_.size(); ++site) {
      if (!is_taken_[site] && request_.sizes.tp - request_.num_lost[site] >= degree) {
        is_taken_[site] = true;
        site_of_cell_[cell] = static_cast<std::int64_t>(site);
        seat(cell + 1);
        site_of_cell_[cell] = -1;
        is_taken_[site] = false;
      }
    }
  }

  const PlacementRequest& request_;
  std::vector<std::int64_t> site_of_cell_;
  std::vector<bool> is_taken_;
  std::optional<Price> best_;
};

PlacementRequest random_request(tests::Dice& dice) {
  PlacementRequest request;
  do {
    request.sizes = {.tp = dice.between(1, 4),
                     .cp = dice.between(1, 2),
                     .dp = dice.between(1, 4),
                     .pp = dice.between(1, 3)};
  } while (num_cells(request.sizes) > 6);
  const auto tp = request.sizes.tp;
  for (std::int64_t dp = 0; dp < request.sizes.dp; ++dp) {
    request.replica_degree.push_back(
        static_cast<std::int32_t>(dice.one_in(2) ? tp : dice.between(0, tp)));
  }
  const std::int64_t sites = num_cells(request.sizes) + dice.between(0, 2);
  for (std::int64_t site = 0; site < sites; ++site) {
    request.num_lost.push_back(static_cast<std::int32_t>(dice.one_in(3) ? dice.between(0, tp) : 0));
  }
  return request;
}

}  // namespace

TEST_CASE("a placement moves the least state, then the fewest sites, of all there are",
          "[planner][placement]") {
  tests::Dice dice(71);
  int num_feasible = 0;
  for (int trial = 0; trial < 1500; ++trial) {
    const PlacementRequest request = random_request(dice);
    CAPTURE(request.sizes.cp, request.sizes.dp, request.sizes.pp, request.sizes.tp);
    CAPTURE(request.num_lost, request.replica_degree);
    const auto placement = place_sites(request);
    const std::optional<Price> best = EveryPlacement(request).best();
    REQUIRE(placement.has_value() == best.has_value());
    if (!best) {
      REQUIRE(placement.error().reason.find("too few") != std::string::npos);
      continue;
    }
    ++num_feasible;
    REQUIRE(Price(placement->num_state_moves, placement->num_moved) == *best);
    REQUIRE(price_of(request, placement->site_of_cell) == *best);
    std::vector<std::int64_t> used;
    for (std::int64_t cell = 0; cell < num_cells(request.sizes); ++cell) {
      const std::int64_t site = placement->site_of_cell[static_cast<std::size_t>(cell)];
      const auto dp = static_cast<std::size_t>(cell / request.sizes.cp % request.sizes.dp);
      const std::int32_t degree = request.replica_degree[dp];
      REQUIRE((site >= 0) == (degree > 0));
      if (site >= 0) {
        REQUIRE(request.sizes.tp - request.num_lost[static_cast<std::size_t>(site)] >= degree);
        used.push_back(site);
      }
    }
    std::sort(used.begin(), used.end());
    REQUIRE(std::adjacent_find(used.begin(), used.end()) == used.end());
  }
  CHECK(num_feasible > 500);
  CHECK(num_feasible < 1400);
}

TEST_CASE("damage in every replica of a pipeline gathers in one by moves inside the stages",
          "[planner][placement]") {
  // TP 8, DP 4, PP 4: stage p has lost a GPU in replica p. Replica 0 takes all four at TP 7, and
  // the healthy sites that it gives up serve their own stages elsewhere.
  PlacementRequest request{.sizes = {.tp = 8, .dp = 4, .pp = 4},
                           .num_lost = std::vector<std::int32_t>(16, 0),
                           .replica_degree = {7, 8, 8, 8}};
  for (std::size_t stage = 0; stage < 4; ++stage) {
    request.num_lost[stage * 4 + stage] = 1;
  }
  const auto placement = place_sites(request);
  REQUIRE(placement.has_value());
  CHECK(placement->num_state_moves == 0);
  CHECK(placement->num_moved == 6);  // three damaged sites and the three that take their places
}

TEST_CASE("a job of two thousand sites is placed at a lower degree of all replicas",
          "[planner][placement]") {
  PlacementRequest request{.sizes = {.tp = 8, .dp = 128, .pp = 16},
                           .num_lost = std::vector<std::int32_t>(2048 + 8, 0),
                           .replica_degree = std::vector<std::int32_t>(128, 4)};
  for (std::size_t site = 0; site < 2048; site += 100) {
    request.num_lost[site] = site % 200 == 0 ? 8 : 4;
  }
  // Eleven sites of 2,048 are gone, and eight are in reserve.
  CHECK_FALSE(place_sites(request).has_value());
  request.replica_degree.back() = 0;
  const auto placement = place_sites(request);
  REQUIRE(placement.has_value());
  CHECK(placement->num_moved == 11);
  CHECK(placement->num_state_moves == 0);
}

TEST_CASE("the replicas with the most damage run at the smallest degrees", "[planner][placement]") {
  tests::Dice dice(72);
  for (int trial = 0; trial < 500; ++trial) {
    const ParallelSizes sizes{.tp = dice.between(1, 8),
                              .cp = dice.between(1, 3),
                              .dp = dice.between(1, 8),
                              .pp = dice.between(1, 4)};
    std::vector<std::int32_t> num_lost;
    for (std::int64_t site = num_cells(sizes) + dice.between(0, 4); site > 0; --site) {
      num_lost.push_back(static_cast<std::int32_t>(dice.one_in(3) ? dice.between(0, sizes.tp) : 0));
    }
    std::vector<std::int32_t> degrees;
    for (std::int64_t i = dice.between(0, sizes.dp); i > 0; --i) {
      degrees.push_back(static_cast<std::int32_t>(dice.between(0, sizes.tp)));
    }
    const std::vector<std::int32_t> chosen = choose_reduced_replicas(sizes, num_lost, degrees);

    std::vector<std::int32_t> expected = degrees;
    expected.resize(static_cast<std::size_t>(sizes.dp), static_cast<std::int32_t>(sizes.tp));
    std::sort(expected.begin(), expected.end());
    std::vector<std::int32_t> sorted = chosen;
    std::sort(sorted.begin(), sorted.end());
    REQUIRE(sorted == expected);

    std::vector<std::pair<int, int>> damage(static_cast<std::size_t>(sizes.dp));  // sites, GPUs
    for (std::int64_t cell = 0; cell < num_cells(sizes); ++cell) {
      auto& [sites, gpus] = damage[static_cast<std::size_t>(cell / sizes.cp % sizes.dp)];
      sites += num_lost[static_cast<std::size_t>(cell)] > 0 ? 1 : 0;
      gpus += num_lost[static_cast<std::size_t>(cell)];
    }
    for (std::size_t a = 0; a < damage.size(); ++a) {
      for (std::size_t b = 0; b < damage.size(); ++b) {
        REQUIRE((damage[a] <= damage[b] || chosen[a] <= chosen[b]));
      }
    }
  }
  CHECK_THROWS_AS(choose_reduced_replicas({.dp = 2}, {0, 0}, {1, 1, 1}), InvalidArgument);
}

TEST_CASE("requests of the wrong size are refused", "[planner][placement]") {
  CHECK_THROWS_AS(place_sites({.sizes = {.dp = 2}, .num_lost = {0, 0}, .replica_degree = {1}}),
                  InvalidArgument);
  CHECK_THROWS_AS(place_sites({.sizes = {.dp = 2}, .num_lost = {0}, .replica_degree = {1, 1}}),
                  InvalidArgument);
}
