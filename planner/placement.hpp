#pragma once

#include "core/error.hpp"
#include "core/layout.hpp"

#include <cstdint>
#include <vector>

namespace runflat::planner {

/// Sites are to be given to the cells of a layout. Site k belongs to cell k at the start, cells
/// counted cp fastest, then dp, then pp (Megatron's rank order); later sites are reserves.
struct PlacementRequest {
  ParallelSizes sizes;
  std::vector<std::int32_t> num_lost;        ///< GPUs lost, by site
  std::vector<std::int32_t> replica_degree;  ///< TP degree, by dp rank; 0: the replica does not run
};

struct Placement {
  std::vector<std::int64_t>
      site_of_cell;            ///< by cell, cp fastest; -1 where the replica does not run
  std::int64_t num_moved = 0;  ///< sites that serve another cell than at the start
  std::int64_t num_state_moves =
      0;  ///< of those, the ones that hold another stage's state, or none
};

/// Gives every cell of a running replica a site that can run the replica's degree, so that the
/// least state moves, and among those solutions the fewest sites. All sites of one pipeline stage
/// hold the same weights, so that a move inside a stage moves no state. A minimum-cost flow
/// (Boost.Graph). Infeasible when the sites do not suffice.
[[nodiscard]] Expected<Placement, Infeasible> place_sites(const PlacementRequest& request);

/// The replicas that lose the least by running at `degrees` (any order; 0: not at all): those with
/// the most damaged sites of their own take the smallest degrees. Returns the degree of every
/// replica, sizes.tp for the others.
[[nodiscard]] std::vector<std::int32_t> choose_reduced_replicas(
    const ParallelSizes& sizes,
    const std::vector<std::int32_t>& num_lost,
    std::vector<std::int32_t> degrees);

}  // namespace runflat::planner
