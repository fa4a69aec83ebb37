#include "planner/placement.hpp"

#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/successive_shortest_path_nonnegative_weights.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <numeric>

namespace runflat::planner {
namespace {

using Traits = boost::adjacency_list_traits<boost::vecS, boost::vecS, boost::directedS>;
using Edge = Traits::edge_descriptor;
using Graph = boost::adjacency_list<
    boost::vecS,
    boost::vecS,
    boost::directedS,
    boost::no_property,
    boost::property<
        boost::edge_capacity_t,
        long,
        boost::property<boost::edge_residual_capacity_t,
                        long,
                        boost::property<boost::edge_reverse_t,
                                        Edge,
                                        boost::property<boost::edge_weight_t, double>>>>>;

/// A flow network with unit capacities. Costs are whole numbers, in doubles because the algorithm
/// adds up infinite distances.
class UnitFlow {
 public:
  explicit UnitFlow(std::size_t num_vertices) : graph_(num_vertices) {}

  Edge connect(std::size_t from, std::size_t to, double cost) {
    const Edge there = boost::add_edge(from, to, graph_).first;
    const Edge back = boost::add_edge(to, from, graph_).first;
    boost::put(boost::edge_capacity, graph_, there, 1);
    boost::put(boost::edge_capacity, graph_, back, 0);
    boost::put(boost::edge_weight, graph_, there, cost);
    boost::put(boost::edge_weight, graph_, back, -cost);
    boost::put(boost::edge_reverse, graph_, there, back);
    boost::put(boost::edge_reverse, graph_, back, there);
    return there;
  }
  void solve(std::size_t source, std::size_t sink) {
    boost::successive_shortest_path_nonnegative_weights(graph_, source, sink);
  }
  [[nodiscard]] bool is_used(Edge edge) const {
    return boost::get(boost::edge_residual_capacity, graph_, edge) == 0;
  }

 private:
  Graph graph_;
};

class Placer {
 public:
  explicit Placer(const PlacementRequest& request)
      : request_(request),
        sizes_(request.sizes),
        num_cells_(sizes_.cp * sizes_.dp * sizes_.pp),
        site_of_cell_(static_cast<std::size_t>(num_cells_), -1) {}

  Expected<Placement, Infeasible> place() {
    split();
    if (!assign()) {
      return Infeasible{
          fmt::format("{} TP groups are to run and too few of the {} sites have the GPUs for them",
                      open_cells_.size(),
                      free_sites_.size())};
    }
    Placement placement{.site_of_cell = site_of_cell_};
    for (std::int64_t cell = 0; cell < num_cells_; ++cell) {
      const std::int64_t site = site_of_cell_[static_cast<std::size_t>(cell)];
      placement.num_moved += site >= 0 && site != cell ? 1 : 0;
      placement.num_state_moves += site >= 0 && !has_state_of(site, cell) ? 1 : 0;
    }
    return placement;
  }

 private:
  [[nodiscard]] std::int32_t degree_of(std::int64_t cell) const {
    return request_.replica_degree[static_cast<std::size_t>(cell / sizes_.cp % sizes_.dp)];
  }
  [[nodiscard]] std::int64_t stage_of(std::int64_t cell) const {
    return cell / (sizes_.cp * sizes_.dp);
  }
  [[nodiscard]] std::int32_t num_lost(std::int64_t site) const {
    return request_.num_lost[static_cast<std::size_t>(site)];
  }
  [[nodiscard]] bool can_serve(std::int64_t site, std::int64_t cell) const {
    return sizes_.tp - num_lost(site) >= degree_of(cell);
  }
  [[nodiscard]] bool has_state_of(std::int64_t site, std::int64_t cell) const {
    return site < num_cells_ && stage_of(site) == stage_of(cell);
  }

  /// A site that can serve its own cell at the highest degree of all stays: whatever would take its
  /// place can take the place that it would go to, and moves no more state. All else is open.
  void split() {
    const std::int32_t highest = std::max(
        1, *std::max_element(request_.replica_degree.begin(), request_.replica_degree.end()));
    for (std::int64_t site = 0; site < static_cast<std::int64_t>(request_.num_lost.size());
         ++site) {
      const bool has_cell = site < num_cells_;
      if (has_cell && degree_of(site) == highest && can_serve(site, site)) {
        site_of_cell_[static_cast<std::size_t>(site)] = site;
        continue;
      }
      free_sites_.push_back(site);
      if (has_cell && degree_of(site) > 0) {
        open_cells_.push_back(site);
      }
    }
  }

  [[nodiscard]] double cost(std::int64_t site, std::int64_t cell) const {
    const double more_than_all_moves = static_cast<double>(open_cells_.size()) + 1.0;
    return (site == cell ? 0.0 : 1.0) + (has_state_of(site, cell) ? 0.0 : more_than_all_moves);
  }

  bool assign() {
    const std::size_t first_site = 2;
    const std::size_t first_cell = first_site + free_sites_.size();
    UnitFlow flow(first_cell + open_cells_.size());
    struct Choice {
      Edge edge;
      std::int64_t site;
      std::int64_t cell;
    };
    std::vector<Choice> choices;
    for (std::size_t s = 0; s < free_sites_.size(); ++s) {
      flow.connect(0, first_site + s, 0);
      for (std::size_t c = 0; c < open_cells_.size(); ++c) {
        if (can_serve(free_sites_[s], open_cells_[c])) {
          const double price = cost(free_sites_[s], open_cells_[c]);
          choices.push_back({flow.connect(first_site + s, first_cell + c, price),
                             free_sites_[s],
                             open_cells_[c]});
        }
      }
    }
    for (std::size_t c = 0; c < open_cells_.size(); ++c) {
      flow.connect(first_cell + c, 1, 0);
    }
    flow.solve(0, 1);
    std::size_t num_served = 0;
    for (const Choice& choice : choices) {
      if (flow.is_used(choice.edge)) {
        site_of_cell_[static_cast<std::size_t>(choice.cell)] = choice.site;
        ++num_served;
      }
    }
    return num_served == open_cells_.size();
  }

  const PlacementRequest& request_;
  const ParallelSizes& sizes_;
  std::int64_t num_cells_;
  std::vector<std::int64_t> site_of_cell_;
  std::vector<std::int64_t> free_sites_;
  std::vector<std::int64_t> open_cells_;
};

}  // namespace

Expected<Placement, Infeasible> place_sites(const PlacementRequest& request) {
  const ParallelSizes& sizes = request.sizes;
  require(static_cast<std::int64_t>(request.replica_degree.size()) == sizes.dp,
          "one degree for each replica");
  require(static_cast<std::int64_t>(request.num_lost.size()) >= sizes.cp * sizes.dp * sizes.pp,
          "at least one site for each cell");
  return Placer(request).place();
}

std::vector<std::int32_t> choose_reduced_replicas(const ParallelSizes& sizes,
                                                  const std::vector<std::int32_t>& num_lost,
                                                  std::vector<std::int32_t> degrees) {
  require(static_cast<std::int64_t>(degrees.size()) <= sizes.dp, "more degrees than replicas");
  const auto num_replicas = static_cast<std::size_t>(sizes.dp);
  std::vector<std::int64_t> damage(num_replicas, 0);  // damaged sites first, then GPUs lost
  const std::int64_t num_cells = sizes.cp * sizes.dp * sizes.pp;
  for (std::int64_t cell = 0; cell < num_cells; ++cell) {
    const std::int64_t lost = num_lost[static_cast<std::size_t>(cell)];
    constexpr std::int64_t kSite = 1 << 20;
    damage[static_cast<std::size_t>(cell / sizes.cp % sizes.dp)] += lost > 0 ? kSite + lost : 0;
  }
  std::vector<std::size_t> order(num_replicas);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return damage[a] > damage[b];
  });
  std::sort(degrees.begin(), degrees.end());
  std::vector<std::int32_t> chosen(num_replicas, static_cast<std::int32_t>(sizes.tp));
  for (std::size_t i = 0; i < degrees.size(); ++i) {
    chosen[order[i]] = degrees[i];
  }
  return chosen;
}

}  // namespace runflat::planner
