#include "core/state_move.hpp"

#include "core/pipeline_layers.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <span>

namespace runflat {
namespace {

/// The part of the model that state groups divide: one stage, or some experts of one stage.
struct Shelf {
  PpRank stage;
  std::int64_t ep = 0;
};

/// How many times old shelves and next ones both hold the slices: the layers (and experts) in
/// common.
class SharedLayers {
 public:
  SharedLayers(const ModelSpec& model, const ParallelSizes& old, const ParallelSizes& next)
      : num_experts_(model.num_experts), old_(old), next_(next) {
    const std::vector<PpRank> before = stages_of_layers(model.num_layers, old.pp, old.vpp);
    const std::vector<PpRank> after = stages_of_layers(model.num_layers, next.pp, next.vpp);
    layers_.resize(static_cast<std::size_t>(old.pp * next.pp), 0);
    for (std::size_t layer = 0; layer < before.size(); ++layer) {
      ++layers_[place(before[layer], after[layer])];
    }
  }

  [[nodiscard]] std::int64_t num(const StateSlice& slice, Shelf old, Shelf next) const {
    const std::int64_t experts = slice.of_experts ? shared_experts(old.ep, next.ep) : 1;
    switch (slice.place) {
      case ParamPlace::layer:
        return layers_[place(old.stage, next.stage)] * experts;
      case ParamPlace::embedding:
        return old.stage.value() == 0 && next.stage.value() == 0 ? 1 : 0;
      case ParamPlace::head: {
        const bool is_stored = !slice.is_tied || next_.pp > 1;
        const bool is_last = old.stage.value() == old_.pp - 1 && next.stage.value() == next_.pp - 1;
        return is_stored && is_last ? 1 : 0;
      }
    }
    return 0;
  }

 private:
  [[nodiscard]] std::size_t place(PpRank old, PpRank next) const {
    return old.index() * static_cast<std::size_t>(next_.pp) + next.index();
  }
  [[nodiscard]] std::int64_t shared_experts(std::int64_t old_ep, std::int64_t next_ep) const {
    const std::int64_t old_size = num_experts_ / old_.ep;
    const std::int64_t next_size = num_experts_ / next_.ep;
    const std::int64_t first = std::max(old_ep * old_size, next_ep * next_size);
    const std::int64_t end = std::min((old_ep + 1) * old_size, (next_ep + 1) * next_size);
    return std::max<std::int64_t>(end - first, 0);
  }

  std::int64_t num_experts_;
  ParallelSizes old_;
  ParallelSizes next_;
  std::vector<std::int64_t> layers_;  // by old and next stage
};

/// The surviving ranks of the old plan: where each GPU stood, and who holds a shelf.
class Survivors {
 public:
  Survivors(const Plan& old, const Plan& next, std::vector<StateGroup> groups, std::int64_t num_ep)
      : cluster_(next.cluster),
        groups_(std::move(groups)),
        num_ep_(num_ep),
        on_shelf_(static_cast<std::size_t>(old.layout.sizes().pp * num_ep)),
        in_domain_(static_cast<std::size_t>(
            std::max(old.cluster.num_domains(), next.cluster.num_domains()))),
        homes_(
            static_cast<std::size_t>(std::max(old.cluster.num_gpus(), next.cluster.num_gpus()))) {
    std::vector<bool> is_down(homes_.size(), false);
    for (const GpuId gpu : next.failed) {
      is_down[gpu.index()] = true;
    }
    for (std::size_t index = 0; index < groups_.size(); ++index) {
      const StateGroup& group = groups_[index];
      on_shelf_[shelf_index({group.stage, group.ep})].push_back(index);
      for (std::size_t rank = 0; rank < group.gpus.size(); ++rank) {
        const GpuId gpu = group.gpus[rank];
        if (is_down[gpu.index()]) {
          continue;
        }
        homes_[gpu.index()] = {.group = static_cast<std::int64_t>(index),
                               .rank = TpRank(static_cast<std::int64_t>(rank))};
        std::vector<std::size_t>& near = in_domain_[cluster_.domain_of(gpu).index()];
        if (near.empty() || near.back() != index) {
          near.push_back(index);
        }
      }
    }
  }

  struct Home {
    std::int64_t group = -1;  ///< none
    TpRank rank;
  };
  [[nodiscard]] const Home& home_of(GpuId gpu) const { return homes_[gpu.index()]; }
  [[nodiscard]] bool is_alive(GpuId gpu) const { return home_of(gpu).group >= 0; }
  [[nodiscard]] bool is_near(GpuId a, GpuId b) const {
    return cluster_.domain_of(a) == cluster_.domain_of(b);
  }
  [[nodiscard]] const StateGroup& group(std::size_t index) const { return groups_[index]; }
  [[nodiscard]] std::size_t num_shelves() const { return on_shelf_.size(); }
  [[nodiscard]] Shelf shelf(std::size_t index) const {
    const auto place = static_cast<std::int64_t>(index);
    return {.stage = PpRank(place / num_ep_), .ep = place % num_ep_};
  }
  [[nodiscard]] const std::vector<std::size_t>& on_shelf(std::size_t index) const {
    return on_shelf_[index];
  }
  /// Groups of a shelf with a survivor in the domain of `gpu`: its own first.
  [[nodiscard]] std::vector<std::size_t> near(std::size_t shelf_number, GpuId gpu) const {
    const Shelf wanted = shelf(shelf_number);
    std::vector<std::size_t> found;
    for (const std::size_t index : in_domain_[cluster_.domain_of(gpu).index()]) {
      if (groups_[index].stage == wanted.stage && groups_[index].ep == wanted.ep) {
        const bool is_own = static_cast<std::int64_t>(index) == home_of(gpu).group;
        found.insert(is_own ? found.begin() : found.end(), index);
      }
    }
    return found;
  }

 private:
  [[nodiscard]] std::size_t shelf_index(Shelf shelf) const {
    return shelf.stage.index() * static_cast<std::size_t>(num_ep_) +
           static_cast<std::size_t>(shelf.ep);
  }

  ClusterSpec cluster_;
  std::vector<StateGroup> groups_;
  std::int64_t num_ep_;
  std::vector<std::vector<std::size_t>> on_shelf_;
  std::vector<std::vector<std::size_t>> in_domain_;
  std::vector<Home> homes_;  // by GPU
};

/// One rank of the next plan.
struct Receiver {
  GpuId gpu;
  TpRank rank;
  const StateGroup* group;
};

/// The moves of the dense parameters, or of the experts.
class MoveFinder {
 public:
  MoveFinder(const std::vector<StateSlice>& slices,
             bool of_experts,
             const SharedLayers& shared,
             const Survivors& survivors,
             std::vector<UnitMove>& moves)
      : slices_(slices),
        of_experts_(of_experts),
        shared_(shared),
        survivors_(survivors),
        maps_(slices),
        turn_(survivors.num_shelves(), 0),
        moves_(moves) {}

  /// Finds a source for all that a group of the next plan lacks.
  [[nodiscard]] std::optional<Infeasible> serve(const StateGroup& group) {
    for (std::size_t shelf = 0; shelf < survivors_.num_shelves(); ++shelf) {
      if (!holds_anything_for(group, shelf)) {
        continue;
      }
      for (std::size_t rank = 0; rank < group.gpus.size(); ++rank) {
        const Receiver receiver{.gpu = group.gpus[rank],
                                .rank = TpRank(static_cast<std::int64_t>(rank)),
                                .group = &group};
        if (auto problem = serve(receiver, shelf)) {
          return problem;
        }
      }
    }
    return std::nullopt;
  }

 private:
  [[nodiscard]] std::int64_t num_shared(std::size_t slice,
                                        std::size_t shelf,
                                        const StateGroup& group) const {
    return slices_[slice].of_experts == of_experts_
               ? shared_.num(slices_[slice], survivors_.shelf(shelf), {group.stage, group.ep})
               : 0;
  }
  [[nodiscard]] bool holds_anything_for(const StateGroup& group, std::size_t shelf) const {
    for (std::size_t slice = 0; slice < slices_.size(); ++slice) {
      if (num_shared(slice, shelf, group) > 0) {
        return true;
      }
    }
    return false;
  }

  [[nodiscard]] std::optional<Infeasible> serve(const Receiver& receiver, std::size_t shelf) {
    const std::vector<std::size_t> near = survivors_.near(shelf, receiver.gpu);
    const std::vector<std::size_t>& all = survivors_.on_shelf(shelf);
    std::optional<std::size_t> turn;  // of the replicas, the same for all slices
    for (std::size_t slice = 0; slice < slices_.size(); ++slice) {
      const std::int64_t num_instances = num_shared(slice, shelf, *receiver.group);
      if (num_instances == 0) {
        continue;
      }
      const auto map = maps_.at(slice, *receiver.group);
      if (!map) {
        return map.error();
      }
      const Piece piece{.slice = slice, .num_instances = num_instances};
      std::vector<UnitRange> missing = (*map)->maps.compute.ranges_of(receiver.rank);
      for (std::size_t i = 0; i < near.size() && !missing.empty(); ++i) {
        if (auto problem = take(receiver, piece, near[i], true, missing)) {
          return problem;
        }
      }
      if (!missing.empty() && !turn) {
        turn = turn_[shelf]++;
      }
      for (std::size_t i = 0; i < all.size() && !missing.empty(); ++i) {
        if (auto problem = take(receiver, piece, all[(*turn + i) % all.size()], false, missing)) {
          return problem;
        }
      }
      if (!missing.empty()) {
        return nobody_holds(receiver, slice, missing.front());
      }
    }
    return std::nullopt;
  }

  struct Piece {
    std::size_t slice;
    std::int64_t num_instances;
  };

  /// Takes out of `missing` what the receiver holds itself, and what it can get from `source`.
  [[nodiscard]] std::optional<Infeasible> take(const Receiver& receiver,
                                               const Piece& piece,
                                               std::size_t source,
                                               bool only_near,
                                               std::vector<UnitRange>& missing) {
    const StateGroup& group = survivors_.group(source);
    const auto map = maps_.at(piece.slice, group);
    if (!map) {
      return map.error();
    }
    const std::vector<OwnerRun>& runs = (*map)->runs;
    const auto num_copies = static_cast<std::size_t>((*map)->maps.compute.num_copies());
    const Survivors::Home& home = survivors_.home_of(receiver.gpu);
    const TpRank own = home.group == static_cast<std::int64_t>(source) ? home.rank : TpRank(-1);
    std::vector<UnitRange> left;
    for (const UnitRange& range : missing) {
      const std::int64_t end = range.first + range.num;
      auto run = std::upper_bound(
          runs.begin(), runs.end(), range.first, [](std::int64_t unit, const OwnerRun& other) {
            return unit < other.units.first + other.units.num;
          });
      for (std::int64_t unit = range.first; unit < end;) {
        const std::int64_t stop = std::min(end, run->units.first + run->units.num);
        const UnitRange units{unit, stop - unit};
        const std::span<const OwnerRun> copies(&*run, num_copies);
        const std::optional<TpRank> holder = choose(receiver, group, copies, own, only_near);
        if (!holder) {
          left.push_back(units);
        } else if (*holder != own) {
          moves_.push_back({.from = group.gpus[holder->index()],
                            .to = receiver.gpu,
                            .slice = piece.slice,
                            .units = units,
                            .num_instances = piece.num_instances});
        }
        unit = stop;
        run += static_cast<std::ptrdiff_t>(num_copies);
      }
    }
    missing = std::move(left);
    return std::nullopt;
  }

  /// Of the ranks that hold the same units: the receiver itself, or a survivor, not always the
  /// first one.
  [[nodiscard]] std::optional<TpRank> choose(const Receiver& receiver,
                                             const StateGroup& group,
                                             std::span<const OwnerRun> copies,
                                             TpRank own,
                                             bool only_near) const {
    std::optional<TpRank> chosen;
    for (std::size_t i = 0; i < copies.size(); ++i) {
      const TpRank rank = copies[(receiver.rank.index() + i) % copies.size()].rank;
      const GpuId gpu = group.gpus[rank.index()];
      if (rank == own) {
        return own;
      }
      if (!chosen && survivors_.is_alive(gpu) &&
          (!only_near || survivors_.is_near(gpu, receiver.gpu))) {
        chosen = rank;
      }
    }
    return chosen;
  }

  [[nodiscard]] Infeasible nobody_holds(const Receiver& receiver,
                                        std::size_t slice,
                                        const UnitRange& units) const {
    return Infeasible{fmt::format(
        "no surviving GPU holds units {} to {} of {} that stage {} needs; load a checkpoint",
        units.first,
        units.first + units.num - 1,
        slices_[slice].params.front(),
        receiver.group->stage.value())};
  }

  const std::vector<StateSlice>& slices_;
  bool of_experts_;
  const SharedLayers& shared_;
  const Survivors& survivors_;
  OwnerMaps maps_;
  std::vector<std::size_t> turn_;  // by shelf: the replica that is asked next
  std::vector<UnitMove>& moves_;
};

}  // namespace

Expected<std::vector<UnitMove>, Infeasible> unit_moves(const Plan& old, const Plan& next) {
  require(old.model == next.model, "a transition keeps the model");
  require(old.cluster.domain_size == next.cluster.domain_size,
          "a transition keeps the NVLink domains");
  const std::vector<StateSlice> slices = state_slices(next.model);
  const SharedLayers shared(next.model, old.layout.sizes(), next.layout.sizes());
  std::vector<UnitMove> moves;
  const auto serve_all = [&](bool of_experts,
                             std::vector<StateGroup> before,
                             const std::vector<StateGroup>& after) -> std::optional<Infeasible> {
    const std::int64_t num_ep = of_experts ? old.layout.sizes().ep : 1;
    const Survivors survivors(old, next, std::move(before), num_ep);
    MoveFinder finder(slices, of_experts, shared, survivors, moves);
    for (const StateGroup& group : after) {
      if (auto problem = finder.serve(group)) {
        return problem;
      }
    }
    return std::nullopt;
  };
  if (auto problem = serve_all(false, dense_groups(old.layout), dense_groups(next.layout))) {
    return *problem;
  }
  auto experts_before = expert_groups(old.model, old.layout);
  const auto experts_after = expert_groups(next.model, next.layout);
  if (!experts_before || !experts_after) {
    return experts_before ? experts_after.error() : experts_before.error();
  }
  if (auto problem = serve_all(true, std::move(experts_before).value(), *experts_after)) {
    return *problem;
  }
  std::stable_sort(
      moves.begin(), moves.end(), [](const UnitMove& a, const UnitMove& b) { return a.to < b.to; });
  return moves;
}

}  // namespace runflat
