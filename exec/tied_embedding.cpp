#include "exec/tied_embedding.hpp"

#include "exec/job_groups.hpp"

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

/// What the ranks of one stage own of the tied parameter.
class Owners {
 public:
  Owners(const StagePlace& place, std::vector<StageParam> params)
      : place_(place), params_(std::move(params)), tied_(*tied_param(params_)) {}

  /// The elements that sync rank `tp_rank` of peer `peer` owns.
  [[nodiscard]] std::vector<SliceRun> owned(std::int64_t tp_rank, std::int64_t peer) const {
    const StageLayout layout = make_stage_layout(params_,
                                                 place_.sync_degree,
                                                 place_.sync_degree,
                                                 TpRank(tp_rank),
                                                 place_.num_buckets,
                                                 place_.num_peers);
    const BucketShape& bucket = layout.buckets[layout.slots[tied_].bucket];
    const ElementRange slice = place_.is_sharded
                                   ? StageState::slice_of(bucket, peer, place_.num_peers)
                                   : ElementRange{0, bucket.num_sync};
    std::vector<SliceRun> runs = runs_of(layout, bucket, slice);
    std::erase_if(runs, [this](const SliceRun& run) { return run.param != tied_; });
    return runs;
  }

 private:
  StagePlace place_;
  std::vector<StageParam> params_;
  std::size_t tied_;
};

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
  const Owners others(theirs, stage_params(mine.model, mine.sizes, other, theirs.vp_stage));
  const Owners own(mine, state.params());
  bucket_ = state.layout().slots[*tied].bucket;
  std::int64_t num_staging = 0;
  for (std::int64_t tp = 0; tp < theirs.sync_degree; ++tp) {
    const Coordinate& me = layout.coordinate_of(rank);
    const std::vector<Rank> peers = dp_peers(
        layout,
        *layout.rank_of(Coordinate{.tp = TpRank(tp), .cp = me.cp, .dp = me.dp, .pp = other}));
    for (std::int64_t peer = 0; peer < theirs.num_peers; ++peer) {
      if (!mine.is_sharded && peer != mine.peer) {
        continue;  // every replica trades with itself
      }
      for (const SliceRun& theirs_run : others.owned(tp, peer)) {
        for (const SliceRun& run : own.owned(mine.tp_rank.value(), mine.peer)) {
          const ElementRange both = overlap(run.elements, theirs_run.elements);
          if (both.num > 0) {
            trades_.push_back({.peer = peers[static_cast<std::size_t>(peer)].value(),
                               .offset = run.sync_offset + both.first - run.elements.first,
                               .num = both.num,
                               .staging = num_staging});
            num_staging += both.num;
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
