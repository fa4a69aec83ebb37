#include "core/communicator_change.hpp"

#include <algorithm>
#include <map>

namespace runflat {
namespace {

constexpr std::int64_t kNone = -1;

/// The groups of one layout as GPUs.
struct GpuGroups {
  GpuGroups(const ParallelLayout& layout, std::int64_t num_instances)
      : groups(make_process_groups(layout, num_instances)) {
    std::vector<std::int64_t> gpu_of_rank;
    gpu_of_rank.reserve(static_cast<std::size_t>(layout.num_ranks()));
    for (std::int64_t rank = 0; rank < layout.num_ranks(); ++rank) {
      gpu_of_rank.push_back(layout.gpu_of(Rank(rank)).value());
      num_gpus = std::max(num_gpus, gpu_of_rank.back() + 1);
    }
    members.reserve(groups.size());
    for (const ProcessGroup& group : groups) {
      std::vector<std::int64_t>& gpus = members.emplace_back();
      gpus.reserve(group.ranks.size());
      for (const Rank rank : group.ranks) {
        gpus.push_back(gpu_of_rank[rank.index()]);
      }
    }
  }

  std::vector<ProcessGroup> groups;
  std::vector<std::vector<std::int64_t>> members;
  std::int64_t num_gpus = 0;
};

/// By GPU, where it stands in the groups of one kind.
struct Place {
  std::int64_t group = kNone;
  std::int64_t position = kNone;
};

class Comparison {
 public:
  Comparison(const ParallelLayout& old, const ParallelLayout& next, std::int64_t num_instances)
      : old_(old, num_instances),
        next_(next, num_instances),
        is_used_(old_.groups.size(), false),
        result_(next_.groups.size()),
        is_kept_(next_.groups.size(), false) {}

  [[nodiscard]] std::vector<CommunicatorChange> run() {
    for (int kind = 0; kind <= static_cast<int>(GroupKind::intra_dist_opt_instance); ++kind) {
      compare(static_cast<GroupKind>(kind));
    }
    std::vector<CommunicatorChange> changes;
    for (std::size_t index = 0; index < result_.size(); ++index) {
      if (!is_kept_[index]) {
        changes.push_back(std::move(result_[index]));
      }
    }
    for (std::size_t index = 0; index < old_.groups.size(); ++index) {
      if (!is_used_[index]) {
        changes.push_back({.kind = old_.groups[index].kind,
                           .action = GroupAction::drop,
                           .old_group = static_cast<std::int64_t>(index),
                           .next_group = std::nullopt,
                           .next_position = {}});
      }
    }
    return changes;
  }

 private:
  [[nodiscard]] std::vector<Place> places(const GpuGroups& of, GroupKind kind) const {
    std::vector<Place> places(static_cast<std::size_t>(std::max(old_.num_gpus, next_.num_gpus)));
    for (std::size_t index = 0; index < of.groups.size(); ++index) {
      for (std::size_t i = 0; of.groups[index].kind == kind && i < of.members[index].size(); ++i) {
        places[static_cast<std::size_t>(of.members[index][i])] = {static_cast<std::int64_t>(index),
                                                                  static_cast<std::int64_t>(i)};
      }
    }
    return places;
  }

  /// First the groups that can go on, then the others, which take over what is left.
  void compare(GroupKind kind) {
    const std::vector<Place> before = places(old_, kind);
    const std::vector<Place> after = places(next_, kind);
    std::vector<std::size_t> others;
    for (std::size_t index = 0; index < next_.groups.size(); ++index) {
      if (next_.groups[index].kind == kind && !goes_on(index, before, after)) {
        others.push_back(index);
      }
    }
    for (const std::size_t index : others) {
      const std::int64_t previous = predecessor(index, before);
      result_[index] = {.kind = kind,
                        .action = previous == kNone ? GroupAction::create : GroupAction::recreate,
                        .old_group = std::nullopt,
                        .next_group = static_cast<std::int64_t>(index),
                        .next_position = {}};
      if (previous != kNone) {
        result_[index].old_group = previous;
        is_used_[static_cast<std::size_t>(previous)] = true;
      }
    }
  }

  /// Whether the next group is an old one, or what is left of it.
  bool goes_on(std::size_t index,
               const std::vector<Place>& before,
               const std::vector<Place>& after) {
    const std::vector<std::int64_t>& gpus = next_.members[index];
    const std::int64_t old_index = before[static_cast<std::size_t>(gpus.front())].group;
    for (const std::int64_t gpu : gpus) {
      if (before[static_cast<std::size_t>(gpu)].group != old_index || old_index == kNone) {
        return false;
      }
    }
    const std::vector<std::int64_t>& old_gpus = old_.members[static_cast<std::size_t>(old_index)];
    is_kept_[index] = gpus == old_gpus;
    if (!is_kept_[index]) {
      CommunicatorChange change{
          .kind = next_.groups[index].kind,
          .action = gpus.size() == old_gpus.size() ? GroupAction::keep : GroupAction::shrink,
          .old_group = old_index,
          .next_group = static_cast<std::int64_t>(index),
          .next_position = {}};
      for (const std::int64_t gpu : old_gpus) {
        const Place& place = after[static_cast<std::size_t>(gpu)];
        if (place.group != kNone && place.group != static_cast<std::int64_t>(index)) {
          return false;
        }
        change.next_position.push_back(place.position);
      }
      result_[index] = std::move(change);
    }
    is_used_[static_cast<std::size_t>(old_index)] = true;
    return true;
  }

  /// The unused old group that most members come from; the earliest of equals.
  [[nodiscard]] std::int64_t predecessor(std::size_t index,
                                         const std::vector<Place>& before) const {
    std::map<std::int64_t, std::int64_t> num_from;
    for (const std::int64_t gpu : next_.members[index]) {
      const std::int64_t group = before[static_cast<std::size_t>(gpu)].group;
      if (group != kNone && !is_used_[static_cast<std::size_t>(group)]) {
        ++num_from[group];
      }
    }
    const auto most =
        std::max_element(num_from.begin(), num_from.end(), [](const auto& a, const auto& b) {
          return a.second < b.second;
        });
    return most == num_from.end() ? kNone : most->first;
  }

  GpuGroups old_;
  GpuGroups next_;
  std::vector<bool> is_used_;               // by old group
  std::vector<CommunicatorChange> result_;  // by next group
  std::vector<bool> is_kept_;               // by next group
};

}  // namespace

std::string_view name_of(GroupAction action) {
  switch (action) {
    case GroupAction::keep:
      return "keep";
    case GroupAction::shrink:
      return "shrink";
    case GroupAction::recreate:
      return "recreate";
    case GroupAction::create:
      return "create";
    case GroupAction::drop:
      return "drop";
  }
  return "";
}

std::vector<CommunicatorChange> communicator_changes(
    const ParallelLayout& old,
    const ParallelLayout& next,
    std::int64_t num_distributed_optimizer_instances) {
  return Comparison(old, next, num_distributed_optimizer_instances).run();
}

}  // namespace runflat
