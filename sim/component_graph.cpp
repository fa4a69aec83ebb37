#include "sim/component_graph.hpp"

#include "core/error.hpp"

#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/depth_first_search.hpp>
#include <boost/range/iterator_range.hpp>

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace runflat::sim {
namespace {

struct Component {
  ComponentKind kind = ComponentKind::gpu;
  std::int32_t gpu = -1;  // its number, of a GPU
  std::optional<ComponentGraph::Id> repair_scope{};
};

/// Stops the dependent, or carries a share of one of its resources.
struct Dependence {
  bool stops = true;
  Resource resource = Resource::compute;
  double share = 0.0;
};

using Graph =
    boost::adjacency_list<boost::vecS, boost::vecS, boost::bidirectionalS, Component, Dependence>;
using Vertex = boost::graph_traits<Graph>::vertex_descriptor;
using Edge = boost::graph_traits<Graph>::edge_descriptor;

/// Collects what a depth-first search finishes: every component after those that depend on it.
class Finished : public boost::default_dfs_visitor {
 public:
  explicit Finished(std::vector<Vertex>& order) : order_(&order) {}

  template <typename AnyGraph>
  void finish_vertex(Vertex vertex, const AnyGraph&) {
    order_->push_back(vertex);
  }
  template <typename AnyGraph>
  void back_edge(Edge, const AnyGraph&) {
    require(false, "components must not need each other in a circle");
  }

 private:
  std::vector<Vertex>* order_;
};

/// Colours of the few vertices that a search reaches, white unless set.
class SparseColours {
 public:
  using key_type = Vertex;
  using value_type = boost::default_color_type;
  using reference = value_type;
  using category = boost::read_write_property_map_tag;

  explicit SparseColours(std::unordered_map<Vertex, value_type>& colours) : colours_(&colours) {}

  friend value_type get(const SparseColours& map, Vertex vertex) {
    const auto found = map.colours_->find(vertex);
    return found == map.colours_->end() ? boost::white_color : found->second;
  }
  friend void put(const SparseColours& map, Vertex vertex, value_type colour) {
    (*map.colours_)[vertex] = colour;
  }

 private:
  std::unordered_map<Vertex, value_type>* colours_;
};

/// Everything that depends on `failed`, each after what it depends on.
std::vector<Vertex> reached_in_order(const Graph& graph,
                                     const std::vector<ComponentGraph::Id>& failed) {
  std::unordered_map<Vertex, boost::default_color_type> colours;
  std::vector<Vertex> order;
  for (const ComponentGraph::Id start : failed) {
    require(start < boost::num_vertices(graph), "a component of the graph");
    if (get(SparseColours(colours), start) == boost::white_color) {
      boost::depth_first_visit(graph, start, Finished(order), SparseColours(colours));
    }
  }
  std::reverse(order.begin(), order.end());
  return order;
}

}  // namespace

struct ComponentGraph::Data {
  Graph graph;
  std::array<std::vector<Id>, kNumComponentKinds> by_kind;
};

std::string_view to_string(ComponentKind kind) {
  switch (kind) {
    case ComponentKind::gpu:
      return "gpu";
    case ComponentKind::tray:
      return "tray";
    case ComponentKind::host:
      return "host";
    case ComponentKind::nic:
      return "nic";
    case ComponentKind::nv_switch:
      return "nv_switch";
    case ComponentKind::leaf_switch:
      return "leaf_switch";
    case ComponentKind::spine_switch:
      return "spine_switch";
    case ComponentKind::power_feed:
      return "power_feed";
    case ComponentKind::cooling_loop:
      return "cooling_loop";
  }
  return "";
}

ComponentGraph::ComponentGraph() : data_(std::make_unique<Data>()) {}
ComponentGraph::~ComponentGraph() = default;
ComponentGraph::ComponentGraph(ComponentGraph&&) noexcept = default;
ComponentGraph& ComponentGraph::operator=(ComponentGraph&&) noexcept = default;

ComponentGraph::Id ComponentGraph::add(ComponentKind kind) {
  std::vector<Id>& same = data_->by_kind[static_cast<std::size_t>(kind)];
  const bool is_gpu = kind == ComponentKind::gpu;
  const Component component{.kind = kind,
                            .gpu = is_gpu ? static_cast<std::int32_t>(same.size()) : -1};
  same.push_back(static_cast<Id>(boost::add_vertex(component, data_->graph)));
  return same.back();
}

void ComponentGraph::add_stop(Id provider, Id dependent) {
  require(std::max(provider, dependent) < num_components(), "components of the graph");
  boost::add_edge(provider, dependent, Dependence{}, data_->graph);
}

void ComponentGraph::add_share(Id provider, Id dependent, Resource resource, double share) {
  require(std::max(provider, dependent) < num_components(), "components of the graph");
  require(share > 0.0 && share <= 1.0, "a share lies between 0 and 1");
  boost::add_edge(provider,
                  dependent,
                  Dependence{.stops = false, .resource = resource, .share = share},
                  data_->graph);
}

std::size_t ComponentGraph::num_components() const {
  return boost::num_vertices(data_->graph);
}

ComponentKind ComponentGraph::kind(Id component) const {
  require(component < num_components(), "a component of the graph");
  return data_->graph[component].kind;
}

const std::vector<ComponentGraph::Id>& ComponentGraph::of_kind(ComponentKind kind) const {
  return data_->by_kind[static_cast<std::size_t>(kind)];
}

Impact ComponentGraph::impact(const std::vector<Id>& failed) const {
  const Graph& graph = data_->graph;
  const std::unordered_set<Vertex> dead(failed.begin(), failed.end());
  std::unordered_map<Vertex, Speeds> reached;
  constexpr double kNoise = 1e-12;  // of shares that sum to one
  std::map<std::int32_t, Speeds> gpus;
  for (const Vertex vertex : reached_in_order(graph, failed)) {
    Speeds speeds = dead.contains(vertex) ? Speeds{} : kFullSpeed;
    Speeds lost{};
    for (const Edge edge : boost::make_iterator_range(boost::in_edges(vertex, graph))) {
      const auto provider = reached.find(boost::source(edge, graph));
      if (provider == reached.end()) {
        continue;
      }
      const Dependence& dependence = graph[edge];
      const auto resource = static_cast<std::size_t>(dependence.resource);
      if (dependence.stops) {
        for (std::size_t i = 0; i < speeds.size(); ++i) {
          speeds[i] = std::min(speeds[i], provider->second[i]);
        }
      } else {
        lost[resource] += dependence.share * (1.0 - provider->second[resource]);
      }
    }
    for (std::size_t i = 0; i < speeds.size(); ++i) {
      const double rest = 1.0 - lost[i];
      speeds[i] *= rest > kNoise ? rest : 0.0;
    }
    reached[vertex] = speeds;
    if (graph[vertex].kind == ComponentKind::gpu) {
      gpus[graph[vertex].gpu] = speeds;
    }
  }
  Impact result;
  for (const auto& [gpu, speeds] : gpus) {
    if (*std::min_element(speeds.begin(), speeds.end()) <= 0.0) {
      result.down.push_back(gpu);
    } else if (speeds != kFullSpeed) {
      result.slow.push_back({gpu, speeds});
    }
  }
  return result;
}

void ComponentGraph::set_repair_scope(Id component, Id scope) {
  require(std::max(component, scope) < num_components(), "components of the graph");
  data_->graph[component].repair_scope = scope;
}

Impact ComponentGraph::repair_impact(Id component) const {
  require(component < num_components(), "a component of the graph");
  return impact({component, data_->graph[component].repair_scope.value_or(component)});
}

}  // namespace runflat::sim
