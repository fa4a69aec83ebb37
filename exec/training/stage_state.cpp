#include "exec/training/stage_state.hpp"

#include "core/error.hpp"

#include <algorithm>

namespace runflat::exec {
namespace {

std::vector<StageLayout> layouts_of_cell(const StagePlace& place,
                                         const std::vector<StageParam>& params) {
  std::vector<StageLayout> layouts;
  for (std::int64_t rank = 0; rank < place.tp_size; ++rank) {
    layouts.push_back(make_stage_layout(params,
                                        place.tp_size,
                                        place.sync_degree,
                                        TpRank(rank),
                                        place.num_buckets,
                                        place.num_peers));
  }
  return layouts;
}

}  // namespace

std::uint64_t stream_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
  return hash;
}

std::vector<SliceRun> runs_of(const StageLayout& layout,
                              const BucketShape& bucket,
                              ElementRange slice) {
  std::vector<SliceRun> runs;
  for (const std::size_t param : bucket.params) {
    const ParamSlot& slot = layout.slots[param];
    const ElementRange part = overlap(slice, {slot.sync_offset, slot.sync.num});
    if (part.num > 0) {
      const std::int64_t first = slot.sync.first + part.first - slot.sync_offset;
      runs.push_back({.param = param, .elements = {first, part.num}, .sync_offset = part.first});
    }
  }
  return runs;
}

ElementRange StageState::slice_of(const BucketShape& bucket,
                                  std::int64_t peer,
                                  std::int64_t num_peers) {
  const std::int64_t num = bucket.num_sync / num_peers;
  return {peer * num, num};
}

StageState::StageState(Device& device, const StagePlace& place)
    : device_(device),
      place_(place),
      params_(stage_params(place.model, place.sizes, place.stage, place.vp_stage)) {
  const std::vector<StageLayout> layouts = layouts_of_cell(place, params_);
  layout_ = layouts[place.tp_rank.index()];
  const std::int64_t size = kernels::size_of(type());
  const std::int64_t accumulate_size = kernels::size_of(accumulate_type());
  const bool is_partial = place.sequence_parallel && place.tp_size > 1;
  for (std::size_t b = 0; b < layout_.buckets.size(); ++b) {
    Bucket bucket{.shape = layout_.buckets[b],
                  .exchange = BucketExchange(params_, layouts, b, place.tp_rank, is_partial)};
    bucket.weights = device.allocate(bucket.shape.num * size);
    bucket.grads = device.allocate(bucket.shape.num * accumulate_size);
    bucket.staging = device.allocate(bucket.exchange.num_staging() * accumulate_size);
    const std::int64_t num_parts = place.is_sharded ? place.num_peers : 1;
    bucket.slice = make_slice(
        bucket.shape, place.is_sharded ? place.peer : 0, num_parts, type() != accumulate_type());
    if (place.is_sharded && place.keeps_copy_of) {
      bucket.buddy = make_slice(bucket.shape, *place.keeps_copy_of, num_parts, true);
      bucket.buddy_grads = device.allocate(bucket.buddy->elements.num * accumulate_size);
    }
    buckets_.push_back(std::move(bucket));
  }
}

OptimizerSlice StageState::make_slice(const BucketShape& shape,
                                      std::int64_t peer,
                                      std::int64_t num_parts,
                                      bool has_masters) {
  OptimizerSlice slice{.elements = slice_of(shape, peer, num_parts)};
  const std::int64_t bytes = slice.elements.num * kernels::size_of(accumulate_type());
  slice.exp_avg = device_.allocate(bytes);
  slice.exp_avg_sq = device_.allocate(bytes);
  if (has_masters) {
    slice.master = device_.allocate(bytes);
  }
  return slice;
}

void* StageState::master_at(const Bucket& bucket,
                            const OptimizerSlice& slice,
                            std::int64_t sync_offset) const {
  const std::int64_t size = kernels::size_of(accumulate_type());
  return slice.master.data() != nullptr
             ? slice.master.at((sync_offset - slice.elements.first) * size)
             : bucket.weights.at(sync_offset * size);
}

std::optional<std::size_t> StageState::index_of(std::string_view name) const {
  const auto found = std::find_if(params_.begin(), params_.end(), [name](const StageParam& param) {
    return param.name == name;
  });
  if (found == params_.end()) {
    return std::nullopt;
  }
  return static_cast<std::size_t>(found - params_.begin());
}

ParamRef StageState::find(std::string_view name) {
  const std::optional<std::size_t> param = index_of(name);
  if (!param) {
    return {};
  }
  const ParamSlot& slot = layout_.slots[*param];
  const Bucket& bucket = buckets_[slot.bucket];
  return {.weight = bucket.weights.at(slot.compute_offset * kernels::size_of(type())),
          .grad = bucket.grads.at(slot.compute_offset * kernels::size_of(accumulate_type())),
          .num = slot.num_compute};
}

bool StageState::counts(std::size_t param) const {
  const StageParam& it = params_[param];
  if (it.is_tied_copy) {
    return false;
  }
  const ShardMaps maps = shard_maps_of(it, place_.tp_size, place_.sync_degree);
  const std::int64_t unit = layout_.slots[param].sync.first / it.elements_per_unit();
  return maps.sync.owner_of(unit) == place_.tp_rank;
}

void StageState::draw(std::uint64_t seed, std::size_t param) {
  const ParamSlot& slot = layout_.slots[param];
  const Bucket& bucket = buckets_[slot.bucket];
  const auto draw_run = [&](ElementRange elements, std::int64_t offset) {
    device_.random_normal({.dst = bucket.weights.at(offset * kernels::size_of(type())),
                           .num = elements.num,
                           .first = elements.first,
                           .seed = seed,
                           .stream_id = stream_of(params_[param].source_name),
                           .mean = params_[param].initial.mean,
                           .std = params_[param].initial.std,
                           .type = type()});
  };
  draw_run(slot.sync, slot.sync_offset);
  std::int64_t offset = slot.compute_offset;
  for (const ElementRange& range : slot.compute) {
    draw_run(range, offset);
    offset += range.num;
  }
}

void StageState::draw_masters(std::uint64_t seed, const Bucket& bucket, OptimizerSlice& slice) {
  const std::int64_t size = kernels::size_of(accumulate_type());
  for (const SliceRun& run : runs_of(layout_, bucket.shape, slice.elements)) {
    device_.random_normal({.dst = slice.master.at((run.sync_offset - slice.elements.first) * size),
                           .num = run.elements.num,
                           .first = run.elements.first,
                           .seed = seed,
                           .stream_id = stream_of(params_[run.param].source_name),
                           .mean = params_[run.param].initial.mean,
                           .std = params_[run.param].initial.std,
                           .type = accumulate_type()});
  }
}

void StageState::initialise(std::uint64_t seed) {
  for (std::size_t param = 0; param < params_.size(); ++param) {
    draw(seed, param);
  }
  for (Bucket& bucket : buckets_) {
    if (type() != accumulate_type()) {
      draw_masters(seed, bucket, bucket.slice);
    }
    if (bucket.buddy) {
      draw_masters(seed, bucket, *bucket.buddy);
    }
  }
}

void StageState::zero_grads() {
  const std::int64_t size = kernels::size_of(accumulate_type());
  for (std::size_t i = 0; i < params_.size(); ++i) {
    const ParamSlot& slot = layout_.slots[i];
    // The product that makes a linear layer's gradient writes all of it, unless ranks share it.
    const bool is_linear = params_[i].decays() && params_[i].spec.place != ParamPlace::embedding;
    const bool is_shared = params_[i].is_divided() && place_.tp_size > params_[i].num_units();
    if (!is_linear || is_shared) {
      const Bucket& bucket = buckets_[slot.bucket];
      device_.zero(bucket.grads.at(slot.compute_offset * size), slot.num_compute * size);
    }
  }
}

void StageState::keep_optimizer_state() {
  for (Bucket& bucket : buckets_) {
    bucket.grads = {};
    bucket.staging = {};
    bucket.buddy_grads = {};
    if (type() != accumulate_type()) {
      bucket.weights = {};
    }
  }
}

void StageState::cast_masters() {
  if (type() == accumulate_type()) {
    return;
  }
  for (const Bucket& bucket : buckets_) {
    const OptimizerSlice& slice = bucket.slice;
    for (const SliceRun& run : runs_of(layout_, bucket.shape, slice.elements)) {
      const std::int64_t at = run.sync_offset - slice.elements.first;
      device_.cast({.src = slice.master.at(at * kernels::size_of(accumulate_type())),
                    .dst = bucket.weights.at(run.sync_offset * kernels::size_of(type())),
                    .num = run.elements.num,
                    .src_type = accumulate_type(),
                    .dst_type = type()});
    }
  }
}

}  // namespace runflat::exec
