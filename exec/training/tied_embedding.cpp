#include "exec/training/tied_embedding.hpp"

#include "exec/training/job_groups.hpp"

#include <algorithm>
#include <optional>

namespace runflat::exec {
namespace {

std::optional<std::size_t> tied_param(const std::vector<StageParam>& params) {
  const auto found = std::find_if(params.begin(), params.end(), [](const StageParam& param) {
    return param.is_tied_copy || param.has_tied_copy;
  });
  if (found == params.end()) {
    return std::nullopt;
  }
  return static_cast<std::size_t>(found - params.begin());
}

/// What a slice of the sync area holds of the tied parameter.
std::vector<SliceRun> tied_runs(const StageLayout& layout, std::size_t tied, ElementRange slice) {
  std::vector<SliceRun> runs = runs_of(layout, layout.buckets[layout.slots[tied].bucket], slice);
  std::erase_if(runs, [tied](const SliceRun& run) { return run.param != tied; });
  return runs;
}

StagePlace place_of_stage(const StagePlace& mine, const ParallelLayout& layout, PpRank stage) {
  StagePlace place = mine;
  place.stage = stage;
  place.vp_stage = stage.value() == 0 ? 0 : mine.sizes.vpp - 1;
  place.sync_degree = layout.sync_degree(stage);
  return place;
}

}  // namespace

TiedEmbedding::TiedEmbedding(Device& device,
                             const ParallelLayout& layout,
                             Rank rank,
                             StageState& state)
    : device_(device), state_(state) {
  const std::optional<std::size_t> tied = tied_param(state.params());
  const StagePlace& mine = state.place();
  if (!tied || mine.tp_rank.value() >= mine.sync_degree) {
    return;
  }
  const bool is_first = state.params()[*tied].has_tied_copy;
  const PpRank other(is_first ? mine.sizes.pp - 1 : 0);
  const StagePlace theirs = place_of_stage(mine, layout, other);
  const std::vector<StageParam> params =
      stage_params(mine.model, mine.sizes, other, theirs.vp_stage);
  const std::size_t tied_there = *tied_param(params);
  bucket_ = state.layout().slots[*tied].bucket;
  const std::vector<SliceRun> own =
      tied_runs(state.layout(), *tied, state.buckets()[bucket_].slice.elements);
  const Coordinate& me = layout.coordinate_of(rank);
  std::int64_t num_staging = 0;
  const auto trade = [&](Rank peer, const SliceRun& run, ElementRange both) {
    trades_.push_back({.peer = peer.value(),
                       .offset = run.sync_offset + both.first - run.elements.first,
                       .num = both.num,
                       .staging = num_staging});
    num_staging += both.num;
  };
  for (std::int64_t tp = 0; tp < theirs.sync_degree; ++tp) {
    const std::vector<Rank> peers = dp_peers(
        layout,
        *layout.rank_of(Coordinate{.tp = TpRank(tp), .cp = me.cp, .dp = me.dp, .pp = other}));
    const StageLayout there = make_stage_layout(params,
                                                theirs.sync_degree,
                                                theirs.sync_degree,
                                                TpRank(tp),
                                                theirs.num_buckets,
                                                theirs.num_peers);
    const BucketShape& bucket = there.buckets[there.slots[tied_there].bucket];
    for (std::int64_t peer = 0; peer < theirs.num_peers; ++peer) {
      if (!mine.is_sharded && peer != mine.peer) {
        continue;  // every replica trades with itself
      }
      const ElementRange slice = mine.is_sharded
                                     ? StageState::slice_of(bucket, peer, theirs.num_peers)
                                     : ElementRange{0, bucket.num_sync};
      for (const SliceRun& their_run : tied_runs(there, tied_there, slice)) {
        for (const SliceRun& run : own) {
          const ElementRange both = overlap(run.elements, their_run.elements);
          if (both.num > 0) {
            trade(peers[static_cast<std::size_t>(peer)], run, both);
          }
        }
      }
    }
  }
  staging_ = device.allocate(num_staging * kernels::size_of(state.accumulate_type()));
}

void TiedEmbedding::sum(Communicator& world) {
  if (trades_.empty()) {
    return;
  }
  const DataType type = state_.accumulate_type();
  const std::int64_t size = kernels::size_of(type);
  const Buffer& grads = state_.buckets()[bucket_].grads;
  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (const Trade& trade : trades_) {
    sends.push_back({trade.peer, grads.at(trade.offset * size), trade.num * size});
    receives.push_back({trade.peer, staging_.at(trade.staging * size), trade.num * size});
  }
  world.join(world.exchange(sends, receives));
  for (const Trade& trade : trades_) {
    void* mine = grads.at(trade.offset * size);
    // Two numbers: their sum is the same on both ends.
    device_.add({.a = mine,
                 .b = staging_.at(trade.staging * size),
                 .y = mine,
                 .num = trade.num,
                 .type = type});
  }
}

}  // namespace runflat::exec
