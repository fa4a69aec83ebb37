#include "exec/training/stage_place.hpp"

#include "exec/training/job_groups.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace runflat::exec {
namespace {

/// How many peers further on the copy of a peer's optimizer slices is kept: the least shift that
/// puts the most copies into another NVLink domain, and on another node where that decides nothing.
std::int64_t copy_shift(const Plan& plan, const std::vector<Rank>& peers) {
  const std::size_t num = peers.size();
  const auto num_apart = [&](std::size_t shift, auto place_of) {
    std::int64_t apart = 0;
    for (std::size_t i = 0; i < num; ++i) {
      const GpuId gpu = plan.layout.gpu_of(peers[i]);
      const GpuId keeper = plan.layout.gpu_of(peers[(i + shift) % num]);
      apart += place_of(gpu) != place_of(keeper) ? 1 : 0;
    }
    return apart;
  };
  std::pair<std::int64_t, std::int64_t> best{-1, -1};
  std::size_t best_shift = 1;
  for (std::size_t shift = 1; shift < num; ++shift) {
    const std::pair apart{
        num_apart(shift, [&](GpuId gpu) { return plan.cluster.domain_of(gpu).value(); }),
        num_apart(shift, [&](GpuId gpu) { return plan.cluster.node_of(gpu).value(); })};
    if (apart > best) {
      best = apart;
      best_shift = shift;
    }
  }
  return static_cast<std::int64_t>(best_shift);
}

}  // namespace

StagePlace stage_place(const Plan& plan,
                       const TrainerConfig& config,
                       Rank rank,
                       std::int64_t vp_stage) {
  const Coordinate& me = plan.layout.coordinate_of(rank);
  const std::vector<Rank> peers = dp_peers(plan.layout, rank);
  StagePlace place{.model = plan.model,
                   .sizes = plan.layout.sizes(),
                   .stage = me.pp,
                   .vp_stage = vp_stage,
                   .tp_size = plan.layout.tp_size(me.cell()),
                   .sync_degree = plan.layout.sync_degree(me.pp),
                   .tp_rank = me.tp,
                   .peer = std::find(peers.begin(), peers.end(), rank) - peers.begin(),
                   .num_peers = plan.layout.sizes().dp * plan.layout.sizes().cp,
                   .num_buckets = config.num_buckets,
                   .is_sharded = plan.training.zero_stage > 0,
                   .keeps_copy_of = {},
                   .copy_is_kept_by = {},
                   .sequence_parallel = plan.training.sequence_parallel,
                   .type = config.type};
  const bool is_sync_rank = me.tp.value() < place.sync_degree;
  if (config.redundancy && place.is_sharded && is_sync_rank && place.num_peers > 1) {
    const std::int64_t shift = copy_shift(plan, peers);
    place.copy_is_kept_by = (place.peer + shift) % place.num_peers;
    place.keeps_copy_of = (place.peer + place.num_peers - shift) % place.num_peers;
  }
  return place;
}

}  // namespace runflat::exec
