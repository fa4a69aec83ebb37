#include "core/process_groups.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string>

namespace runflat {
namespace {

/// A set of places of the nominal grid, numbered like ranks of a uniform layout.
using Places = std::vector<std::int64_t>;

/// A set of axes, as bits; a single one names an axis.
using AxisSet = unsigned;
constexpr AxisSet kTp = 1;
constexpr AxisSet kCp = 2;
constexpr AxisSet kEp = 4;
constexpr AxisSet kDp = 8;
constexpr AxisSet kPp = 16;

/// One of Megatron's two rank generators: five axes in the order of the order string, the leftmost
/// varying fastest.
class Grid {
 public:
  static Grid of_dense(const ParallelSizes& sizes) {
    return {sizes.order,
            {{{kTp, sizes.tp}, {kPp, sizes.pp}, {kDp, sizes.dp}, {kEp, 1}, {kCp, sizes.cp}}}};
  }
  static Grid of_experts(const ParallelSizes& sizes) {
    const std::int64_t edp = sizes.tp * sizes.cp * sizes.dp / (sizes.etp * sizes.ep);
    return {sizes.order,
            {{{kTp, sizes.etp}, {kPp, sizes.pp}, {kDp, edp}, {kEp, sizes.ep}, {kCp, 1}}}};
  }

  /// The groups that vary over the axes in `selected`: one for every place on the other axes,
  /// enumerated first axis fastest, as are the members.
  [[nodiscard]] std::vector<Places> groups(AxisSet selected) const {
    const Places members = offsets(selected);
    std::vector<Places> groups;
    for (const std::int64_t first : offsets(~selected)) {
      Places& group = groups.emplace_back(members);
      for (std::int64_t& place : group) {
        place += first;
      }
    }
    return groups;
  }

  [[nodiscard]] std::int64_t coordinate(std::int64_t place, AxisSet axis) const {
    const auto& entry = *std::find_if(
        axes_.begin(), axes_.end(), [axis](const Entry& other) { return other.axis == axis; });
    return place / entry.stride % entry.size;
  }

 private:
  struct Entry {
    AxisSet axis;
    std::int64_t size;
    std::int64_t stride = 1;
  };

  Grid(const std::string& order, std::array<Entry, 5> axes) : axes_(axes) {
    constexpr std::array<std::pair<std::string_view, AxisSet>, 5> kNames = {
        {{"tp", kTp}, {"cp", kCp}, {"ep", kEp}, {"dp", kDp}, {"pp", kPp}}};
    std::string lower = order;
    std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    const auto position = [&](const Entry& entry) {
      const auto& name = *std::find_if(kNames.begin(), kNames.end(), [&](const auto& other) {
        return other.second == entry.axis;
      });
      return lower.find(name.first);  // npos: an axis of size 1 that is not named comes last
    };
    std::stable_sort(axes_.begin(), axes_.end(), [&](const Entry& a, const Entry& b) {
      return position(a) < position(b);
    });
    std::int64_t stride = 1;
    for (Entry& entry : axes_) {
      entry.stride = stride;
      stride *= entry.size;
    }
  }

  /// The places whose coordinates on all axes outside `selected` are 0, first axis fastest.
  [[nodiscard]] Places offsets(AxisSet selected) const {
    Places places = {0};
    for (const Entry& entry : axes_) {
      if ((selected & entry.axis) == 0) {
        continue;
      }
      const std::size_t num_before = places.size();
      for (std::int64_t i = 1; i < entry.size; ++i) {
        for (std::size_t k = 0; k < num_before; ++k) {
          places.push_back(places[k] + i * entry.stride);
        }
      }
    }
    return places;
  }

  std::array<Entry, 5> axes_;
};

/// Collects groups of places as groups of ranks.
class GroupList {
 public:
  GroupList(const ParallelLayout& layout, const Grid& dense) {
    const std::int64_t num_places = layout.sizes().num_ranks();
    rank_at_.reserve(static_cast<std::size_t>(num_places));
    for (std::int64_t place = 0; place < num_places; ++place) {
      rank_at_.push_back(layout.rank_of(Coordinate{.tp = TpRank(dense.coordinate(place, kTp)),
                                                   .cp = CpRank(dense.coordinate(place, kCp)),
                                                   .dp = DpRank(dense.coordinate(place, kDp)),
                                                   .pp = PpRank(dense.coordinate(place, kPp))}));
    }
  }

  void add(GroupKind kind, std::span<const std::int64_t> places) {
    ProcessGroup group{.kind = kind, .ranks = {}};
    for (const std::int64_t place : places) {
      if (const std::optional<Rank>& rank = rank_at_[static_cast<std::size_t>(place)]) {
        group.ranks.push_back(*rank);
      }
    }
    if (!group.ranks.empty()) {
      groups_.push_back(std::move(group));
    }
  }
  void add_all(GroupKind kind, const std::vector<Places>& groups) {
    for (const Places& places : groups) {
      add(kind, places);
    }
  }

  [[nodiscard]] std::vector<ProcessGroup> finish() && { return std::move(groups_); }

 private:
  std::vector<std::optional<Rank>> rank_at_;  // by place
  std::vector<ProcessGroup> groups_;
};

/// Part `index` of `num_parts` equal contiguous parts.
std::span<const std::int64_t> part_of(const Places& places,
                                      std::size_t num_parts,
                                      std::size_t index) {
  const std::size_t size = places.size() / num_parts;
  return std::span(places).subspan(index * size, size);
}

void add_dense_groups(GroupList& out, const Grid& dense, std::size_t num_instances) {
  for (const Places& places : dense.groups(kDp | kCp)) {
    out.add(GroupKind::dp_cp, places);
    for (std::size_t i = 0; num_instances > 1 && i < num_instances; ++i) {
      out.add(GroupKind::intra_dp_cp, part_of(places, num_instances, i));
    }
  }
  out.add_all(GroupKind::dp, dense.groups(kDp));
  out.add_all(GroupKind::cp, dense.groups(kCp));
  out.add_all(GroupKind::mp, dense.groups(kTp | kPp));
  out.add_all(GroupKind::tp, dense.groups(kTp));
  for (const Places& places : dense.groups(kPp)) {
    out.add(GroupKind::pp, places);
    Places ends = {places.front()};
    out.add(GroupKind::embd, places.size() == 1 ? ends : Places{places.front(), places.back()});
    out.add(GroupKind::pos_embd, ends);
  }
  out.add_all(GroupKind::tp_dp_cp, dense.groups(kTp | kDp | kCp));
  out.add_all(GroupKind::tp_dp, dense.groups(kTp | kDp));
  out.add_all(GroupKind::tp_cp, dense.groups(kTp | kCp));
}

void add_expert_data_parallel_groups(GroupList& out,
                                     const Grid& experts,
                                     std::size_t num_instances) {
  for (const Places& places : experts.groups(kDp)) {
    out.add(GroupKind::ep_dp, places);
    if (num_instances == 1) {
      continue;
    }
    for (std::size_t i = 0; i < num_instances; ++i) {
      out.add(GroupKind::intra_ep_dp, part_of(places, num_instances, i));
    }
    const std::size_t size = places.size() / num_instances;
    for (std::size_t k = 0; k < size; ++k) {
      Places across;
      for (std::size_t i = 0; i < num_instances; ++i) {
        across.push_back(places[i * size + k]);
      }
      out.add(GroupKind::inter_ep_dp, across);
    }
  }
}

void add_expert_groups(GroupList& out, const Grid& experts, std::size_t num_instances) {
  out.add_all(GroupKind::ep, experts.groups(kEp));
  out.add_all(GroupKind::ep_tp, experts.groups(kTp));
  out.add_all(GroupKind::tp_ep_mp, experts.groups(kTp | kEp));
  const std::vector<Places> models = experts.groups(kTp | kEp | kPp);
  out.add_all(GroupKind::tp_ep_pp, models);
  add_expert_data_parallel_groups(out, experts, num_instances);
  const std::size_t num_models = models.size() / num_instances;
  for (std::size_t i = 0; i < num_instances; ++i) {
    Places instance;
    for (std::size_t k = i * num_models; k < (i + 1) * num_models; ++k) {
      instance.insert(instance.end(), models[k].begin(), models[k].end());
    }
    out.add(GroupKind::intra_dist_opt_instance, instance);
  }
}

}  // namespace

std::string_view name_of(GroupKind kind) {
  switch (kind) {
    case GroupKind::dp_cp:
      return "dp_cp";
    case GroupKind::intra_dp_cp:
      return "intra_dp_cp";
    case GroupKind::dp:
      return "dp";
    case GroupKind::cp:
      return "cp";
    case GroupKind::mp:
      return "mp";
    case GroupKind::tp:
      return "tp";
    case GroupKind::pp:
      return "pp";
    case GroupKind::embd:
      return "embd";
    case GroupKind::pos_embd:
      return "pos_embd";
    case GroupKind::tp_dp_cp:
      return "tp_dp_cp";
    case GroupKind::tp_dp:
      return "tp_dp";
    case GroupKind::tp_cp:
      return "tp_cp";
    case GroupKind::ep:
      return "ep";
    case GroupKind::ep_tp:
      return "ep_tp";
    case GroupKind::tp_ep_mp:
      return "tp_ep_mp";
    case GroupKind::tp_ep_pp:
      return "tp_ep_pp";
    case GroupKind::ep_dp:
      return "ep_dp";
    case GroupKind::intra_ep_dp:
      return "intra_ep_dp";
    case GroupKind::inter_ep_dp:
      return "inter_ep_dp";
    case GroupKind::intra_dist_opt_instance:
      return "intra_dist_opt_instance";
  }
  return "";
}

std::vector<ProcessGroup> make_process_groups(const ParallelLayout& layout,
                                              std::int64_t num_distributed_optimizer_instances) {
  const ParallelSizes& sizes = layout.sizes();
  const std::int64_t edp = sizes.tp * sizes.cp * sizes.dp / (sizes.etp * sizes.ep);
  require(num_distributed_optimizer_instances >= 1 &&
              sizes.dp * sizes.cp % num_distributed_optimizer_instances == 0 &&
              edp % num_distributed_optimizer_instances == 0,
          "the number of distributed-optimizer instances must divide dp*cp and the expert data "
          "parallel size");
  const auto num_instances = static_cast<std::size_t>(num_distributed_optimizer_instances);
  const Grid dense = Grid::of_dense(sizes);
  const Grid experts = Grid::of_experts(sizes);
  require(dense.groups(kPp) == experts.groups(kPp),
          "the order of the axes gives experts other pipelines than the dense layers");
  GroupList out(layout, dense);
  add_dense_groups(out, dense, num_instances);
  add_expert_groups(out, experts, num_instances);
  return std::move(out).finish();
}

std::vector<std::vector<Rank>> groups_of(const std::vector<ProcessGroup>& groups, GroupKind kind) {
  std::vector<std::vector<Rank>> found;
  for (const ProcessGroup& group : groups) {
    if (group.kind == kind) {
      found.push_back(group.ranks);
    }
  }
  return found;
}

}  // namespace runflat
