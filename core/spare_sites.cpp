#include "core/spare_sites.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace runflat {
namespace {

/// GPUs of spare domains that no group has taken.
class SparePool {
 public:
  SparePool(const Plan& whole, const Health& health) {
    const ClusterSpec& cluster = whole.cluster;
    for (const DomainId domain : whole.spare_domains) {
      Domain& spare = domains_.emplace_back();
      const std::int64_t first = cluster.first_gpu(domain).value();
      for (std::int64_t gpu = first; gpu < first + cluster.domain_size; ++gpu) {
        (health.is_down(GpuId(gpu)) ? spare.down : spare.up).push_back(GpuId(gpu));
      }
    }
  }

  /// Moves the group to the first domain that has GPUs for all of it. Slots that do not run get
  /// GPUs of that domain too, those that are down first.
  [[nodiscard]] bool take(Cell& cell) {
    const auto num_active = static_cast<std::size_t>(cell.tp_size());
    const auto spare = std::find_if(domains_.begin(), domains_.end(), [&](const Domain& domain) {
      return domain.up.size() >= num_active &&
             domain.up.size() + domain.down.size() >= cell.slots.size();
    });
    if (spare == domains_.end()) {
      return false;
    }
    for (std::size_t slot = 0; slot < cell.slots.size(); ++slot) {
      const bool is_active = !std::binary_search(
          cell.inactive.begin(), cell.inactive.end(), static_cast<std::int64_t>(slot));
      if (is_active) {
        cell.slots[slot] = spare->up.front();
        spare->up.erase(spare->up.begin());
      }
    }
    for (const std::int64_t slot : cell.inactive) {
      std::vector<GpuId>& idle = spare->down.empty() ? spare->up : spare->down;
      cell.slots[static_cast<std::size_t>(slot)] = idle.back();
      idle.pop_back();
    }
    return true;
  }

  /// Moves the group to where `place`, the same group, is, if all of that is here and up.
  [[nodiscard]] bool take(Cell& cell, const Cell& place) {
    const auto has = [](const std::vector<GpuId>& gpus, GpuId gpu) {
      return std::binary_search(gpus.begin(), gpus.end(), gpu);
    };
    const std::vector<GpuId> active = place.active();
    const auto spare = std::find_if(domains_.begin(), domains_.end(), [&](const Domain& domain) {
      return std::all_of(
                 active.begin(), active.end(), [&](GpuId gpu) { return has(domain.up, gpu); }) &&
             std::all_of(place.slots.begin(), place.slots.end(), [&](GpuId gpu) {
               return has(domain.up, gpu) || has(domain.down, gpu);
             });
    });
    if (spare == domains_.end() || place.inactive != cell.inactive) {
      return false;
    }
    for (const GpuId gpu : place.slots) {
      std::erase(spare->up, gpu);
      std::erase(spare->down, gpu);
    }
    cell.slots = place.slots;
    return true;
  }

 private:
  struct Domain {
    std::vector<GpuId> up;    // ascending
    std::vector<GpuId> down;  // ascending
  };
  std::vector<Domain> domains_;
};

struct DamagedGroup {
  std::size_t cell = 0;
  std::int64_t num_left = 0;
};
using DamagedReplica = std::vector<DamagedGroup>;  // the smallest first

/// Those with the fewest damaged groups first.
std::vector<DamagedReplica> damaged_replicas(const Plan& plan, const Health& health) {
  const ParallelLayout& layout = plan.layout;
  std::vector<DamagedReplica> replicas(static_cast<std::size_t>(layout.sizes().dp));
  for (std::size_t index = 0; index < layout.cells().size(); ++index) {
    const Cell& cell = layout.cells()[index];
    if (!is_whole(cell, health)) {
      replicas[layout.cell_id(index).dp.index()].push_back(
          {.cell = index, .num_left = num_up(cell, health)});
    }
  }
  for (DamagedReplica& groups : replicas) {
    std::stable_sort(groups.begin(), groups.end(), [](const auto& a, const auto& b) {
      return a.num_left < b.num_left;
    });
  }
  std::erase_if(replicas, [](const DamagedReplica& groups) { return groups.empty(); });
  std::stable_sort(replicas.begin(), replicas.end(), [](const auto& a, const auto& b) {
    return a.size() < b.size();
  });
  return replicas;
}

/// How many of its groups are worth moving: the replica is as slow as its smallest group, so that
/// where the spares end before a group, those of the same size need not move either.
std::size_t num_to_move(const DamagedReplica& groups,
                        const std::vector<Cell>& cells,
                        SparePool pool,
                        bool only_whole_replicas) {
  std::size_t most = 0;
  for (; most < groups.size(); ++most) {
    Cell moved = cells[groups[most].cell];
    if (!pool.take(moved)) {
      break;
    }
  }
  if (most == groups.size()) {
    return most;
  }
  if (only_whole_replicas) {
    return 0;
  }
  const auto as_small = std::find_if(groups.begin(), groups.end(), [&](const DamagedGroup& group) {
    return group.num_left == groups[most].num_left;
  });
  return static_cast<std::size_t>(as_small - groups.begin());
}

/// Moves these groups; those that `current` has on spares stay there. Whether there are places for
/// all.
bool move_groups(const std::vector<std::size_t>& groups,
                 SparePool pool,
                 const ParallelLayout& current,
                 std::vector<Cell>& cells) {
  std::vector<std::size_t> others;
  for (const std::size_t index : groups) {
    if (!pool.take(cells[index], current.cells()[index])) {
      others.push_back(index);
    }
  }
  return std::all_of(
      others.begin(), others.end(), [&](std::size_t index) { return pool.take(cells[index]); });
}

/// Those with neither a rank nor a GPU that is down.
std::vector<DomainId> domains_left(const Plan& plan, const Health& health) {
  std::vector<DomainId> left = plan.spare_domains;
  const auto leave = [&](GpuId gpu) { std::erase(left, plan.cluster.domain_of(gpu)); };
  for (const Cell& cell : plan.layout.cells()) {
    leave(cell.slots.front());
  }
  for (const GpuId gpu : health.down()) {
    leave(gpu);
  }
  return left;
}

}  // namespace

std::int64_t num_up(const Cell& cell, const Health& health) {
  const std::vector<GpuId> active = cell.active();
  return std::count_if(
      active.begin(), active.end(), [&](GpuId gpu) { return !health.is_down(gpu); });
}

bool is_whole(const Cell& cell, const Health& health) {
  return num_up(cell, health) == cell.tp_size();
}

Plan moved_to_spares(const Plan& whole,
                     const Plan& current,
                     const Health& health,
                     bool only_whole_replicas) {
  Plan plan = whole;
  if (whole.spare_domains.empty()) {
    return plan;
  }
  const SparePool pool(whole, health);
  SparePool left = pool;
  std::vector<Cell> cells = whole.layout.cells();
  std::vector<std::size_t> moving;
  for (const DamagedReplica& groups : damaged_replicas(whole, health)) {
    const std::size_t num = num_to_move(groups, cells, left, only_whole_replicas);
    for (std::size_t i = 0; i < num; ++i) {
      moving.push_back(groups[i].cell);
      static_cast<void>(left.take(cells[groups[i].cell]));
    }
  }
  std::vector<Cell> kept = whole.layout.cells();
  const bool has_all_replicas = current.layout.sizes() == whole.layout.sizes();
  if (has_all_replicas && move_groups(moving, pool, current.layout, kept)) {
    cells = std::move(kept);
  }
  plan.layout = ParallelLayout::from_cells(whole.layout.sizes(), std::move(cells));
  plan.spare_domains = domains_left(plan, health);
  return plan;
}

}  // namespace runflat
