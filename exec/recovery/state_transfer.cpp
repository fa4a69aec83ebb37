#include "exec/recovery/state_transfer.hpp"

#include "exec/training/stage_place.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

namespace runflat::exec {
namespace {

void append_slice(const StageLayout& layout,
                  const std::vector<StageParam>& params,
                  ElementRange slice,
                  const StatePlace& place,
                  std::vector<HeldState>& held) {
  for (const SliceRun& run : runs_of(layout, layout.buckets[place.bucket], slice)) {
    StatePlace at = place;
    at.sync_offset = run.sync_offset;
    held.push_back({.param = params[run.param].source_name, .elements = run.elements, .place = at});
  }
}

/// Who holds what of the old plan, by parameter.
class Holders {
 public:
  struct Holding {
    GpuId gpu;
    CellId cell;
    HeldState state;
  };

  Holders(const Plan& old, const TrainerConfig& config, const std::vector<GpuId>& survivors)
      : old_(old) {
    for (const GpuId gpu : survivors) {
      const std::optional<Rank> rank = old.layout.rank_of(gpu);
      if (!rank) {
        continue;
      }
      const CellId cell = old.layout.coordinate_of(*rank).cell();
      for (HeldState& state : held_state(old, config, *rank)) {
        std::vector<Holding>& holdings = by_param_[state.param];
        holdings.push_back({.gpu = gpu, .cell = cell, .state = std::move(state)});
      }
    }
  }

  /// Those that share something with `wanted`, in the order in which `receiver` asks them.
  [[nodiscard]] std::vector<const Holding*> asked_by(GpuId receiver,
                                                     const HeldState& wanted) const {
    std::vector<const Holding*> found;
    const auto of_param = by_param_.find(wanted.param);
    if (of_param == by_param_.end()) {
      return found;
    }
    for (const Holding& holding : of_param->second) {
      if (overlap(holding.state.elements, wanted.elements).num > 0) {
        found.push_back(&holding);
      }
    }
    const std::optional<Rank> rank = old_.layout.rank_of(receiver);
    const auto distance = [&](const Holding& holding) {
      if (holding.gpu == receiver) {
        return 0;
      }
      if (rank && holding.cell == old_.layout.coordinate_of(*rank).cell()) {
        return 1;
      }
      return old_.cluster.domain_of(holding.gpu) == old_.cluster.domain_of(receiver) ? 2 : 3;
    };
    // In turn: receivers that want the same do not all ask the same replica.
    const std::int64_t num_replicas = old_.layout.sizes().dp;
    const auto turn = [&](const Holding& holding) {
      return (holding.cell.dp.value() + receiver.value()) % num_replicas;
    };
    const auto order = [&](const Holding* holding) {
      return std::tuple(
          distance(*holding), holding->state.place.is_copy, turn(*holding), holding->gpu);
    };
    std::stable_sort(found.begin(), found.end(), [&](const Holding* a, const Holding* b) {
      return order(a) < order(b);
    });
    return found;
  }

 private:
  const Plan& old_;
  std::map<std::string, std::vector<Holding>> by_param_;
};

StatePlace moved_by(StatePlace place, std::int64_t elements) {
  place.sync_offset += elements;
  return place;
}

/// Finds a source for all of `wanted`; returns the first elements that nobody holds.
std::optional<ElementRange> serve(const Holders& holders,
                                  GpuId receiver,
                                  const HeldState& wanted,
                                  std::vector<StateTransfer>& transfers) {
  std::vector<ElementRange> missing = {wanted.elements};
  for (const Holders::Holding* holding : holders.asked_by(receiver, wanted)) {
    std::vector<ElementRange> left;
    for (const ElementRange& range : missing) {
      const ElementRange both = overlap(range, holding->state.elements);
      if (both.num == 0) {
        left.push_back(range);
        continue;
      }
      transfers.push_back(
          {.from = holding->gpu,
           .to = receiver,
           .source = moved_by(holding->state.place, both.first - holding->state.elements.first),
           .target = moved_by(wanted.place, both.first - wanted.elements.first),
           .num = both.num});
      for (const ElementRange rest : {ElementRange{range.first, both.first - range.first},
                                      ElementRange{both.end(), range.end() - both.end()}}) {
        if (rest.num > 0) {
          left.push_back(rest);
        }
      }
    }
    missing = std::move(left);
    if (missing.empty()) {
      return std::nullopt;
    }
  }
  return missing.front();
}

/// Master, exp_avg and exp_avg_sq at a place.
std::array<void*, 3> state_at(StageStates& states, const StatePlace& place) {
  StageState& state = *states[place.vp_stage];
  const Bucket& bucket = state.buckets()[place.bucket];
  const OptimizerSlice& slice = place.is_copy ? *bucket.buddy : bucket.slice;
  const std::int64_t size = kernels::size_of(state.accumulate_type());
  const std::int64_t offset = (place.sync_offset - slice.elements.first) * size;
  return {state.master_at(bucket, slice, place.sync_offset),
          slice.exp_avg.at(offset),
          slice.exp_avg_sq.at(offset)};
}

}  // namespace

std::vector<HeldState> held_state(const Plan& plan, const TrainerConfig& config, Rank rank) {
  std::vector<HeldState> held;
  for (std::int64_t vp_stage = 0; vp_stage < plan.layout.sizes().vpp; ++vp_stage) {
    const StagePlace place = stage_place(plan, config, rank, vp_stage);
    const std::vector<StageParam> params =
        stage_params(place.model, place.sizes, place.stage, vp_stage);
    const StageLayout layout = make_stage_layout(params,
                                                 place.tp_size,
                                                 place.sync_degree,
                                                 place.tp_rank,
                                                 place.num_buckets,
                                                 place.num_peers);
    for (std::size_t b = 0; b < layout.buckets.size(); ++b) {
      StatePlace at{.vp_stage = static_cast<std::size_t>(vp_stage), .bucket = b};
      const std::int64_t num_parts = place.is_sharded ? place.num_peers : 1;
      const auto slice = [&](std::int64_t peer) {
        return StageState::slice_of(layout.buckets[b], peer, num_parts);
      };
      append_slice(layout, params, slice(place.is_sharded ? place.peer : 0), at, held);
      if (place.keeps_copy_of) {
        at.is_copy = true;
        append_slice(layout, params, slice(*place.keeps_copy_of), at, held);
      }
    }
  }
  return held;
}

Expected<std::vector<StateTransfer>, Infeasible> state_transfers(
    const Plan& old,
    const Plan& next,
    const TrainerConfig& config,
    const std::vector<GpuId>& survivors) {
  const Holders holders(old, config, survivors);
  std::vector<StateTransfer> transfers;
  for (std::int64_t r = 0; r < next.layout.num_ranks(); ++r) {
    const GpuId receiver = next.layout.gpu_of(Rank(r));
    for (const HeldState& wanted : held_state(next, config, Rank(r))) {
      if (const auto missing = serve(holders, receiver, wanted, transfers)) {
        return Infeasible{
            fmt::format("no GPU that is left holds the optimizer state of elements {} to {} of {}",
                        missing->first,
                        missing->end() - 1,
                        wanted.param)};
      }
    }
  }
  return transfers;
}

SyncStatus move_state(Device& device,
                      Communicator* group,
                      const std::vector<std::int64_t>& members,
                      std::int64_t process,
                      const std::vector<StateTransfer>& transfers,
                      StageStates* from,
                      StageStates* to) {
  const auto rank_of = [&](GpuId gpu) {
    return std::find(members.begin(), members.end(), gpu.value()) - members.begin();
  };
  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (const StateTransfer& transfer : transfers) {
    const bool is_mine = transfer.from.value() == process;
    const bool is_for_me = transfer.to.value() == process;
    if (!is_mine && !is_for_me) {
      continue;
    }
    const auto bytes_of = [&](StageStates& states) {
      return transfer.num * kernels::size_of(states.front()->accumulate_type());
    };
    if (is_mine && is_for_me) {
      const auto source = state_at(*from, transfer.source);
      const auto target = state_at(*to, transfer.target);
      for (std::size_t i = 0; i < source.size(); ++i) {
        device.copy(target[i], source[i], bytes_of(*to));
      }
    } else if (is_mine) {
      for (const void* data : state_at(*from, transfer.source)) {
        sends.push_back({rank_of(transfer.to), data, bytes_of(*from)});
      }
    } else {
      for (void* data : state_at(*to, transfer.target)) {
        receives.push_back({rank_of(transfer.from), data, bytes_of(*to)});
      }
    }
  }
  if (group != nullptr) {
    group->join(group->exchange(sends, receives));
    return group->status();
  }
  return SyncStatus::done;
}

}  // namespace runflat::exec
