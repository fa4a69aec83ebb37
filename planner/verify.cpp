#include "planner/verify.hpp"

#include "core/error.hpp"
#include "core/process_groups.hpp"
#include "core/schedule.hpp"
#include "core/schedule_check.hpp"
#include "core/shard_map.hpp"
#include "core/state_slice.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <set>

namespace runflat::planner {
namespace {

/// Collects violations, and of each rule no more than a person wants to read.
class Report {
 public:
  void add(PlanRule rule, std::string what) {
    constexpr int kMost = 5;
    if (++num_[rule] <= kMost) {
      violations_.push_back({rule, std::move(what)});
    }
  }
  [[nodiscard]] std::vector<Violation> finish() && {
    std::stable_sort(violations_.begin(),
                     violations_.end(),
                     [](const Violation& a, const Violation& b) { return a.rule < b.rule; });
    return std::move(violations_);
  }

 private:
  std::map<PlanRule, int> num_;
  std::vector<Violation> violations_;
};

std::string text_of(const CellId& cell) {
  return fmt::format(
      "cell (dp {}, cp {}, pp {})", cell.dp.value(), cell.cp.value(), cell.pp.value());
}

void check_gpus(const Plan& plan, Report& report) {
  std::vector<bool> is_down(static_cast<std::size_t>(plan.cluster.num_gpus()), false);
  const auto exists = [&](GpuId gpu) {
    return gpu.value() >= 0 && gpu.value() < plan.cluster.num_gpus();
  };
  for (const GpuId gpu : plan.failed) {
    if (exists(gpu)) {
      is_down[gpu.index()] = true;
    } else {
      report.add(PlanRule::ranks, fmt::format("failed gpu{} is not in the cluster", gpu.value()));
    }
  }
  const std::set<DomainId> spares(plan.spare_domains.begin(), plan.spare_domains.end());
  for (std::size_t index = 0; index < plan.layout.cells().size(); ++index) {
    const CellId id = plan.layout.cell_id(index);
    const std::vector<GpuId> gpus = plan.layout.cells()[index].active();
    for (const GpuId gpu : gpus) {
      if (!exists(gpu)) {
        report.add(PlanRule::ranks,
                   fmt::format("{} runs on gpu{}, and the cluster has {} GPUs",
                               text_of(id),
                               gpu.value(),
                               plan.cluster.num_gpus()));
      } else if (is_down[gpu.index()]) {
        report.add(PlanRule::ranks,
                   fmt::format("{} runs on gpu{}, which has failed", text_of(id), gpu.value()));
      } else if (spares.count(plan.cluster.domain_of(gpu)) > 0) {
        report.add(PlanRule::ranks,
                   fmt::format("{} runs on gpu{} of a spare domain", text_of(id), gpu.value()));
      }
      if (plan.cluster.domain_of(gpu) != plan.cluster.domain_of(gpus.front())) {
        report.add(PlanRule::domains,
                   fmt::format("{} runs on gpu{} and gpu{} of different NVLink domains",
                               text_of(id),
                               gpus.front().value(),
                               gpu.value()));
        break;
      }
    }
  }
}

void check_shares(const Plan& plan, Report& report) {
  if (static_cast<std::int64_t>(plan.replicas.size()) != plan.layout.sizes().dp) {
    report.add(
        PlanRule::shares,
        fmt::format("{} shares for {} replicas", plan.replicas.size(), plan.layout.sizes().dp));
  }
  for (std::size_t dp = 0; dp < plan.replicas.size(); ++dp) {
    const ReplicaShare& share = plan.replicas[dp];
    if (share.num_microbatches < 1 || !(share.power > 0.0)) {
      report.add(PlanRule::shares,
                 fmt::format("replica {} has {} microbatches at {} of the nominal power",
                             dp,
                             share.num_microbatches,
                             share.power));
    }
    if (share.num_recompute_layers < 0 || share.num_recompute_layers > plan.model.num_layers) {
      report.add(PlanRule::shares,
                 fmt::format("replica {} recomputes {} of {} layers",
                             dp,
                             share.num_recompute_layers,
                             plan.model.num_layers));
    }
  }
}

/// Whether groups of this kind hold ranks of this stage; the kinds that exist only with more than
/// one distributed-optimizer instance hold none.
bool takes_part(GroupKind kind, std::int64_t stage, std::int64_t num_stages) {
  switch (kind) {
    case GroupKind::intra_dp_cp:
    case GroupKind::intra_ep_dp:
    case GroupKind::inter_ep_dp:
      return false;
    case GroupKind::embd:
      return stage == 0 || stage == num_stages - 1;
    case GroupKind::pos_embd:
      return stage == 0;
    case GroupKind::dp_cp:
    case GroupKind::dp:
    case GroupKind::cp:
    case GroupKind::mp:
    case GroupKind::tp:
    case GroupKind::pp:
    case GroupKind::tp_dp_cp:
    case GroupKind::tp_dp:
    case GroupKind::tp_cp:
    case GroupKind::ep:
    case GroupKind::ep_tp:
    case GroupKind::tp_ep_mp:
    case GroupKind::tp_ep_pp:
    case GroupKind::ep_dp:
    case GroupKind::intra_dist_opt_instance:
      return true;
  }
  return true;
}

void check_groups(const Plan& plan, Report& report) {
  constexpr auto kNumKinds = static_cast<std::size_t>(GroupKind::intra_dist_opt_instance) + 1;
  const ParallelLayout& layout = plan.layout;
  const auto num_ranks = static_cast<std::size_t>(layout.num_ranks());
  std::vector<std::vector<std::uint8_t>> num_groups(kNumKinds,
                                                    std::vector<std::uint8_t>(num_ranks, 0));
  for (const ProcessGroup& group : make_process_groups(layout)) {
    std::vector<std::uint8_t>& num = num_groups[static_cast<std::size_t>(group.kind)];
    for (const Rank rank : group.ranks) {
      num[rank.index()] = static_cast<std::uint8_t>(std::min(num[rank.index()] + 1, 2));
    }
  }
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    const Coordinate& at = layout.coordinate_of(Rank(static_cast<std::int64_t>(rank)));
    for (std::size_t k = 0; k < kNumKinds; ++k) {
      const auto kind = static_cast<GroupKind>(k);
      const int expected = takes_part(kind, at.pp.value(), layout.sizes().pp) ? 1 : 0;
      if (num_groups[k][rank] != expected) {
        report.add(PlanRule::groups,
                   fmt::format("rank {} is in {} groups of kind {}, expected {}",
                               rank,
                               num_groups[k][rank] > 1 ? "several" : "no",
                               name_of(kind),
                               expected));
      }
    }
  }
}

/// The units of one rank with adjoining ranges joined, in ascending order.
std::vector<UnitRange> joined(std::vector<UnitRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const UnitRange& a, const UnitRange& b) {
    return a.first < b.first;
  });
  std::vector<UnitRange> out;
  for (const UnitRange& range : ranges) {
    if (!out.empty() && out.back().first + out.back().num == range.first) {
      out.back().num += range.num;
    } else {
      out.push_back(range);
    }
  }
  return out;
}

/// Whether every unit is held by exactly as many ranks as there are copies.
bool is_whole(const ShardMap& map) {
  std::vector<UnitRange> all;
  for (std::int64_t rank = 0; rank < map.degree(); ++rank) {
    const std::vector<UnitRange>& own = map.ranges_of(TpRank(rank));
    all.insert(all.end(), own.begin(), own.end());
  }
  std::sort(all.begin(), all.end(), [](const UnitRange& a, const UnitRange& b) {
    return a.first < b.first;
  });
  const auto num_copies = static_cast<std::size_t>(map.num_copies());
  std::int64_t next = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bool is_copy = i % num_copies != 0;
    if (all[i].num < 1 || (is_copy ? !(all[i] == all[i - 1]) : all[i].first != next)) {
      return false;
    }
    next = all[i].first + all[i].num;
  }
  return next == map.num_units() && all.size() % num_copies == 0;
}

/// Whether the transfers, applied to what `from` holds, give what `to` holds: a rank gives only
/// what it has, and nothing is lost or doubled.
bool leads_to(const Reshard& reshard, const ShardMap& from, const ShardMap& to) {
  for (std::int64_t rank = 0; rank < reshard.group_size(); ++rank) {
    std::vector<UnitRange>
        before;  // kept and sent make up what it had, kept and received what it has
    std::vector<UnitRange> after;
    for (const Transfer& transfer : reshard.transfers()) {
      if (transfer.from == TpRank(rank)) {
        before.push_back(transfer.units);
      }
      if (transfer.to == TpRank(rank)) {
        after.push_back(transfer.units);
      }
    }
    const auto held = [&](const ShardMap& map) {
      return rank < map.degree() ? joined(map.ranges_of(TpRank(rank))) : std::vector<UnitRange>{};
    };
    for (const UnitRange& a : held(from)) {
      for (const UnitRange& b : held(to)) {
        const std::int64_t first = std::max(a.first, b.first);
        const std::int64_t end = std::min(a.first + a.num, b.first + b.num);
        if (first < end) {
          before.push_back({first, end - first});
          after.push_back({first, end - first});
        }
      }
    }
    if (joined(before) != held(from) || joined(after) != held(to)) {
      return false;
    }
  }
  return true;
}

void check_maps(const StateSlice& slice, const ShardMaps& maps, Report& report) {
  const std::string what = fmt::format("{} at TP {} synchronised at {}",
                                       slice.params.front(),
                                       maps.compute.degree(),
                                       maps.sync.degree());
  const bool are_units_kept =
      maps.compute.num_units() == slice.num_units && maps.sync.num_units() == slice.num_units;
  if (!are_units_kept || !is_whole(maps.compute) || !is_whole(maps.sync)) {
    report.add(PlanRule::units, what + ": a unit has no owner, or more than its copies");
    return;
  }
  if (maps.compute.num_copies() > 1 || maps.sync.num_copies() > 1) {
    return;  // replicated parameters are reduced among their copies and not resharded
  }
  const Reshard to_sync = Reshard::between(maps.compute, maps.sync);
  if (!leads_to(to_sync, maps.compute, maps.sync) ||
      !leads_to(to_sync.inverse(), maps.sync, maps.compute)) {
    report.add(PlanRule::reshards, what + ": the reshard loses or doubles units");
  }
}

/// The maps of all groups, each kind of them once.
void check_state_groups(const std::vector<StateSlice>& slices,
                        const std::vector<StateGroup>& groups,
                        bool of_experts,
                        Report& report) {
  OwnerMaps maps(slices);
  std::set<const OwnerMap*> checked;
  std::set<std::pair<std::int64_t, std::int64_t>> refused;
  for (const StateGroup& group : groups) {
    for (std::size_t slice = 0; slice < slices.size(); ++slice) {
      if (slices[slice].of_experts != of_experts) {
        continue;
      }
      const auto map = maps.at(slice, group);
      if (!map) {
        if (refused.insert({group.degree(), group.sync_degree}).second) {
          report.add(PlanRule::units, map.error().reason);
        }
      } else if (checked.insert(*map).second) {
        check_maps(slices[slice], (*map)->maps, report);
      }
    }
  }
}

/// Every expert must be as often on a stage as every other.
void check_experts(const ParallelSizes& sizes,
                   const std::vector<StateGroup>& groups,
                   Report& report) {
  std::map<std::pair<PpRank, std::int64_t>, std::int64_t> num;
  for (const StateGroup& group : groups) {
    ++num[{group.stage, group.ep}];
  }
  for (std::int64_t pp = 0; pp < sizes.pp; ++pp) {
    for (std::int64_t ep = 1; ep < sizes.ep; ++ep) {
      if (num[{PpRank(pp), ep}] != num[{PpRank(pp), 0}]) {
        report.add(
            PlanRule::units,
            fmt::format(
                "stage {}: the experts of ep {} have other copies than those of ep 0", pp, ep));
      }
    }
  }
}

/// The first and the last stage reduce the gradients of a tied embedding with each other, rank by
/// rank: they must divide it alike.
void check_tied_embedding(const Plan& plan, Report& report) {
  const ParallelSizes& sizes = plan.layout.sizes();
  if (plan.model.untie_embeddings_and_output_weights || sizes.pp == 1) {
    return;
  }
  const PpRank last(sizes.pp - 1);
  bool is_alike = plan.layout.sync_degree(PpRank(0)) == plan.layout.sync_degree(last);
  for (std::int64_t cp = 0; cp < sizes.cp; ++cp) {
    for (std::int64_t dp = 0; dp < sizes.dp; ++dp) {
      is_alike = is_alike && plan.layout.tp_size({DpRank(dp), CpRank(cp), PpRank(0)}) ==
                                 plan.layout.tp_size({DpRank(dp), CpRank(cp), last});
    }
  }
  if (!is_alike) {
    report.add(PlanRule::units,
               "the first and the last stage of a replica divide the tied embedding over different "
               "TP degrees");
  }
}

void check_units(const Plan& plan, Report& report) {
  const std::vector<StateSlice> slices = state_slices(plan.model);
  check_state_groups(slices, dense_groups(plan.layout), false, report);
  check_tied_embedding(plan, report);
  const auto experts = expert_groups(plan.model, plan.layout);
  if (!experts) {
    report.add(PlanRule::units, experts.error().reason);
    return;
  }
  if (!experts->empty()) {
    check_state_groups(slices, *experts, true, report);
    check_experts(plan.layout.sizes(), *experts, report);
  }
}

/// The schedule of a replica with this many microbatches, or nothing and a violation.
std::optional<StepSchedule> schedule_of(const Plan& plan,
                                        std::int64_t num_microbatches,
                                        bool reshard,
                                        Report& report) {
  const ParallelSizes& sizes = plan.layout.sizes();
  try {
    const StepSchedule schedule = make_step_schedule(
        {.num_stages = static_cast<int>(sizes.pp),
         .num_vp_stages = static_cast<int>(sizes.vpp),
         .num_microbatches = static_cast<int>(num_microbatches)},
        {.reshard = reshard, .distributed_optimizer = plan.training.zero_stage > 0});
    if (const std::optional<ScheduleFault> fault = check_schedule(schedule)) {
      report.add(PlanRule::schedules,
                 fmt::format("with {} microbatches: {}", num_microbatches, fault->reason));
      return std::nullopt;
    }
    return schedule;
  } catch (const InvalidArgument& error) {
    report.add(PlanRule::schedules,
               fmt::format("no schedule for {} microbatches: {}", num_microbatches, error.what()));
    return std::nullopt;
  }
}

/// Replicas with as many microbatches, and both or neither of them resharding, have the same
/// schedule.
void check_schedules(const Plan& plan, Report& report) {
  const ParallelSizes& sizes = plan.layout.sizes();
  std::vector<bool> reshards(static_cast<std::size_t>(sizes.dp), false);
  for (std::int64_t pp = 0; pp < sizes.pp; ++pp) {
    const std::int64_t degree = plan.layout.sync_degree(PpRank(pp));
    for (std::int64_t cp = 0; cp < sizes.cp; ++cp) {
      for (std::int64_t dp = 0; dp < sizes.dp; ++dp) {
        if (plan.layout.tp_size({DpRank(dp), CpRank(cp), PpRank(pp)}) != degree) {
          reshards[static_cast<std::size_t>(dp)] = true;
        }
      }
    }
  }
  std::set<std::pair<std::int64_t, bool>> kinds;
  for (std::size_t dp = 0; dp < std::min(reshards.size(), plan.replicas.size()); ++dp) {
    if (plan.replicas[dp].num_microbatches >= 1) {
      kinds.insert({plan.replicas[dp].num_microbatches, reshards[dp]});
    }
  }
  std::vector<StepSchedule> schedules;
  for (const auto& [num_microbatches, reshard] : kinds) {
    if (auto schedule = schedule_of(plan, num_microbatches, reshard, report)) {
      schedules.push_back(std::move(*schedule));
    }
  }
  if (const std::optional<ScheduleFault> fault = check_collective_order(schedules)) {
    report.add(PlanRule::schedules, fault->reason);
  }
}

}  // namespace

std::string_view name_of(PlanRule rule) {
  switch (rule) {
    case PlanRule::ranks:
      return "ranks";
    case PlanRule::domains:
      return "domains";
    case PlanRule::shares:
      return "shares";
    case PlanRule::groups:
      return "groups";
    case PlanRule::units:
      return "units";
    case PlanRule::reshards:
      return "reshards";
    case PlanRule::schedules:
      return "schedules";
  }
  return "";
}

std::vector<Violation> verify_plan(const Plan& plan) {
  Report report;
  check_gpus(plan, report);
  check_shares(plan, report);
  check_groups(plan, report);
  check_units(plan, report);
  check_schedules(plan, report);
  return std::move(report).finish();
}

}  // namespace runflat::planner
