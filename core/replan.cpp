#include "core/replan.hpp"

#include "core/spare_sites.hpp"
#include "core/state_slice.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <queue>
#include <utility>
#include <vector>

namespace runflat {
namespace {

/// How the job goes on when no TP group may be smaller than some degree.
struct Choice {
  std::vector<std::int64_t> replicas;                     // of the whole plan, that run
  std::map<CellId, std::int64_t> degrees;                 // of their cells
  std::vector<std::int64_t> num_microbatches;             // by place in `replicas`
  double time = std::numeric_limits<double>::infinity();  // of the slowest replica, in microbatches
};

class InPlacePlanner {
 public:
  InPlacePlanner(const Plan& whole, const Health& health)
      : whole_(whole), health_(health), policy_(in_place_policy(whole)) {}

  [[nodiscard]] std::optional<Choice> best() const {
    std::optional<Choice> best;
    for (std::int64_t lowest = sizes().tp; lowest >= 1; --lowest) {
      std::optional<Choice> choice = choose(lowest);
      if (choice && (!best || choice->time < best->time)) {
        best = std::move(choice);
      }
    }
    return best;
  }

  [[nodiscard]] Plan make_plan(const Choice& choice) const {
    ParallelSizes next_sizes = sizes();
    next_sizes.dp = std::ssize(choice.replicas);
    std::vector<Cell> cells;
    for (std::int64_t pp = 0; pp < sizes().pp; ++pp) {
      for (std::int64_t cp = 0; cp < sizes().cp; ++cp) {
        for (const std::int64_t dp : choice.replicas) {
          const CellId id{.dp = DpRank(dp), .cp = CpRank(cp), .pp = PpRank(pp)};
          cells.push_back(shrunk(id, choice.degrees.at(id)));
        }
      }
    }
    Plan plan = whole_;
    plan.layout = ParallelLayout::from_cells(next_sizes, std::move(cells));
    plan.failed = health_.down();
    plan.replicas.clear();
    for (std::size_t i = 0; i < choice.replicas.size(); ++i) {
      ReplicaShare share = whole_.replicas[static_cast<std::size_t>(choice.replicas[i])];
      share.num_microbatches = choice.num_microbatches[i];
      plan.replicas.push_back(share);
    }
    plan.reasons = reasons(choice);
    return plan;
  }

 private:
  [[nodiscard]] const ParallelSizes& sizes() const { return whole_.layout.sizes(); }

  [[nodiscard]] std::int64_t num_left(CellId id) const {
    return num_up(whole_.layout.cell(id), health_);
  }

  [[nodiscard]] bool is_enough(CellId id, std::int64_t lowest) const {
    return num_left(id) >= lowest &&
           (policy_ == InPlacePolicy::ntp || is_whole(whole_.layout.cell(id), health_));
  }

  template <typename Visit>
  void for_each_cell(std::int64_t dp, Visit visit) const {
    for (std::int64_t pp = 0; pp < sizes().pp; ++pp) {
      for (std::int64_t cp = 0; cp < sizes().cp; ++cp) {
        visit(CellId{.dp = DpRank(dp), .cp = CpRank(cp), .pp = PpRank(pp)});
      }
    }
  }

  [[nodiscard]] std::optional<Choice> choose(std::int64_t lowest) const {
    Choice choice;
    for (std::int64_t dp = 0; dp < sizes().dp; ++dp) {
      bool runs = true;
      for_each_cell(dp, [&](CellId id) { runs = runs && is_enough(id, lowest); });
      if (runs) {
        choice.replicas.push_back(dp);
      }
    }
    for (std::int64_t pp = 0; pp < sizes().pp; ++pp) {
      if (choice.replicas.empty() || !choose_degrees(PpRank(pp), lowest, choice)) {
        return std::nullopt;
      }
    }
    return deal(choice) ? std::optional(choice) : std::nullopt;
  }

  /// Degrees of a stage's cells: the sync degree that lets most GPUs work.
  [[nodiscard]] bool choose_degrees(PpRank stage, std::int64_t lowest, Choice& choice) const {
    std::map<CellId, std::int64_t> best;
    std::int64_t most = 0;
    for (std::int64_t sync_degree = sizes().tp; sync_degree >= lowest; --sync_degree) {
      std::map<CellId, std::int64_t> degrees;
      std::int64_t total = 0;
      std::int64_t smallest = sizes().tp;
      for (const std::int64_t dp : choice.replicas) {
        for (std::int64_t cp = 0; cp < sizes().cp; ++cp) {
          const CellId id{.dp = DpRank(dp), .cp = CpRank(cp), .pp = stage};
          degrees[id] = largest_degree(num_left(id), sync_degree);
          total += degrees[id];
          smallest = std::min(smallest, degrees[id]);
        }
      }
      if (smallest == sync_degree && total > most) {
        best = std::move(degrees);
        most = total;
      }
    }
    choice.degrees.merge(best);
    return most > 0;
  }

  /// The largest degree of at most `num` that the model can be divided by; 0: none.
  [[nodiscard]] std::int64_t largest_degree(std::int64_t num, std::int64_t sync_degree) const {
    for (std::int64_t degree = num; degree >= sync_degree; --degree) {
      if (can_divide(degree, sync_degree)) {
        return degree;
      }
    }
    return 0;
  }

  /// Groups ask the same again and again.
  [[nodiscard]] bool can_divide(std::int64_t degree, std::int64_t sync_degree) const {
    const auto [known, is_new] = divisions_.try_emplace({degree, sync_degree}, false);
    if (is_new) {
      known->second = !check_division(whole_.model, degree, sync_degree);
    }
    return known->second;
  }

  /// Gives out the microbatches one round after another, each to whoever ends first with it.
  [[nodiscard]] bool deal(Choice& choice) const {
    std::vector<double> speeds;
    for (const std::int64_t dp : choice.replicas) {
      double speed = std::numeric_limits<double>::infinity();
      for_each_cell(dp, [&](CellId id) {
        speed = std::min(
            speed, static_cast<double>(choice.degrees.at(id)) / static_cast<double>(sizes().tp));
      });
      speeds.push_back(speed);
    }
    const std::int64_t round = sizes().vpp > 1 ? sizes().pp : 1;
    std::int64_t left = std::accumulate(
        whole_.replicas.begin(),
        whole_.replicas.end(),
        std::int64_t{0},
        [](std::int64_t sum, const ReplicaShare& share) { return sum + share.num_microbatches; });
    std::vector<std::int64_t> shares(speeds.size(), 0);
    const auto time_with = [&](std::size_t i, std::int64_t more) {
      return static_cast<double>(shares[i] + more) / speeds[i];
    };
    using End = std::pair<double, std::size_t>;  // with one round more, of a replica
    std::priority_queue<End, std::vector<End>, std::greater<>> ends;
    for (std::size_t i = 0; i < shares.size(); ++i) {
      ends.emplace(time_with(i, round), i);
    }
    for (; left > 0; left -= round) {
      const std::size_t first = ends.top().second;
      ends.pop();
      shares[first] += round;
      ends.emplace(time_with(first, round), first);
    }
    choice.time = 0.0;
    for (std::size_t i = 0; i < shares.size(); ++i) {
      choice.time = std::max(choice.time, time_with(i, 0));
    }
    choice.num_microbatches = shares;
    return left == 0 && std::find(shares.begin(), shares.end(), 0) == shares.end();
  }

  /// The cell with `degree` of its GPUs that are up: the first ones.
  [[nodiscard]] Cell shrunk(CellId id, std::int64_t degree) const {
    Cell cell = whole_.layout.cell(id);
    std::vector<std::int64_t> inactive;
    std::int64_t num_active = 0;
    for (std::size_t slot = 0; slot < cell.slots.size(); ++slot) {
      const auto number = static_cast<std::int64_t>(slot);
      const bool is_out = std::binary_search(cell.inactive.begin(), cell.inactive.end(), number) ||
                          health_.is_down(cell.slots[slot]) || num_active == degree;
      if (is_out) {
        inactive.push_back(number);
      } else {
        ++num_active;
      }
    }
    cell.inactive = std::move(inactive);
    return cell;
  }

  [[nodiscard]] std::vector<std::string> reasons(const Choice& choice) const {
    std::vector<std::string> reasons = whole_.reasons;
    for (const auto& [id, degree] : choice.degrees) {
      const std::int64_t usual = whole_.layout.tp_size(id);
      if (degree < usual) {
        reasons.push_back(fmt::format("Replica {}, stage {} goes on at TP {} instead of {}.",
                                      id.dp.value(),
                                      id.pp.value(),
                                      degree,
                                      usual));
      }
    }
    if (const auto dropped = sizes().dp - std::ssize(choice.replicas); dropped > 0) {
      reasons.push_back(
          fmt::format("{} of {} replicas are left out until GPUs return.", dropped, sizes().dp));
    }
    return reasons;
  }

  const Plan& whole_;
  const Health& health_;
  InPlacePolicy policy_;
  mutable std::map<std::pair<std::int64_t, std::int64_t>, bool> divisions_;
};

std::int64_t num_damaged(const Plan& plan, const Health& health) {
  const std::vector<Cell>& cells = plan.layout.cells();
  return std::count_if(
      cells.begin(), cells.end(), [&](const Cell& cell) { return !is_whole(cell, health); });
}

/// Says which groups of `plan` are elsewhere than in `whole`.
void explain_moves(const Plan& whole, Plan& plan) {
  for (std::size_t index = 0; index < plan.layout.cells().size(); ++index) {
    const ClusterSpec& cluster = plan.cluster;
    const DomainId from = cluster.domain_of(whole.layout.cells()[index].slots.front());
    const DomainId to = cluster.domain_of(plan.layout.cells()[index].slots.front());
    if (from != to) {
      const CellId id = plan.layout.cell_id(index);
      plan.reasons.push_back(fmt::format(
          "Replica {}, stage {} is on spare domain {}.", id.dp.value(), id.pp.value(), to.value()));
    }
  }
}

}  // namespace

std::string_view to_string(InPlacePolicy policy) {
  switch (policy) {
    case InPlacePolicy::ntp:
      return "ntp";
    case InPlacePolicy::dp_drop:
      return "dp_drop";
    case InPlacePolicy::spare_domain:
      return "spare_domain";
  }
  return "";
}

InPlacePolicy in_place_policy(const Plan& plan) {
  const auto named =
      std::find_if(kInPlacePolicies.begin(), kInPlacePolicies.end(), [&](InPlacePolicy policy) {
        return to_string(policy) == plan.policy;
      });
  return named != kInPlacePolicies.end() ? *named : InPlacePolicy::ntp;
}

Expected<Plan, Infeasible> replan_in_place(const Plan& whole,
                                           const Plan& current,
                                           const Health& health) {
  const InPlacePolicy policy = in_place_policy(whole);
  Plan plan = moved_to_spares(whole, current, health, policy != InPlacePolicy::ntp);
  explain_moves(whole, plan);
  const std::int64_t damaged = num_damaged(plan, health);
  if (damaged == 0) {
    plan.failed = health.down();
    return plan;
  }
  if (policy == InPlacePolicy::spare_domain) {
    return Infeasible{fmt::format(
        "{} of {} TP groups have lost GPUs, and no spare domain has GPUs for all of them; repair "
        "GPUs, add spare domains, or choose another policy",
        damaged,
        plan.layout.cells().size())};
  }
  const InPlacePlanner planner(plan, health);
  const std::optional<Choice> choice = planner.best();
  if (!choice) {
    return Infeasible{
        fmt::format("no replica can go on: {} of {} TP groups have lost GPUs; repair GPUs",
                    damaged,
                    plan.layout.cells().size())};
  }
  return planner.make_plan(*choice);
}

double relative_step_time(const Plan& plan) {
  const ParallelSizes& sizes = plan.layout.sizes();
  double slowest = 0.0;
  for (std::int64_t dp = 0; dp < sizes.dp; ++dp) {
    std::int64_t fewest = sizes.tp;
    for (std::int64_t pp = 0; pp < sizes.pp; ++pp) {
      for (std::int64_t cp = 0; cp < sizes.cp; ++cp) {
        fewest = std::min(
            fewest, plan.layout.tp_size({.dp = DpRank(dp), .cp = CpRank(cp), .pp = PpRank(pp)}));
      }
    }
    const std::int64_t num = plan.replicas[static_cast<std::size_t>(dp)].num_microbatches;
    slowest = std::max(slowest, static_cast<double>(num * sizes.tp) / static_cast<double>(fewest));
  }
  return slowest;
}

bool rejoin_pays(const Plan& current,
                 const Plan& next,
                 Seconds step_time,
                 std::int64_t steps_left,
                 Seconds pause) {
  const double saved = 1.0 - relative_step_time(next) / relative_step_time(current);
  return step_time.count() * saved * static_cast<double>(steps_left) > pause.count();
}

}  // namespace runflat
