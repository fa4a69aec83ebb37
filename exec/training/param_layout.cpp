#include "exec/training/param_layout.hpp"

#include "core/error.hpp"
#include "core/pipeline_layers.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace runflat::exec {
namespace {

// 64 elements: 128 bytes of bf16, so that every slot may be read in 16-byte vectors.
constexpr std::int64_t kSlotAlignment = 64;
constexpr double kInitStd = 0.02;

std::int64_t round_up(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

bool ends_with(const std::string& text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// Megatron's: normal(0, 0.02), output-side layers 0.02 / sqrt(2 L), gains 1, biases 0.
InitialValue initial_value(const ModelSpec& model, const ParamSpec& spec) {
  if (ends_with(spec.name, "layernorm.weight")) {
    return {.mean = 1.0};
  }
  if (ends_with(spec.name, ".bias")) {
    return {};
  }
  const bool is_output_side =
      ends_with(spec.name, "linear_proj.weight") || ends_with(spec.name, "linear_fc2.weight");
  const double layers = static_cast<double>(model.num_layers);
  return {.std = is_output_side ? kInitStd / std::sqrt(2.0 * layers) : kInitStd};
}

StageParam stage_param(const ModelSpec& model, ParamSpec spec, std::string name) {
  StageParam param;
  param.initial = initial_value(model, spec);
  param.spec = std::move(spec);
  param.source_name = name;
  param.name = std::move(name);
  return param;
}

void append_outer(const ModelSpec& model,
                  ParamPlace place,
                  bool is_split,
                  std::vector<StageParam>& params) {
  for (ParamSpec& spec : outer_params(model)) {
    if (spec.place != place) {
      continue;
    }
    const bool is_norm = spec.name.starts_with("final_layernorm");
    std::string name = is_norm ? "decoder." + spec.name : spec.name;
    if (spec.tied_to_embedding && !is_split) {
      continue;  // the head uses the embedding's own memory
    }
    const bool is_embedding = spec.name == "embedding.word_embeddings.weight";
    params.push_back(stage_param(model, std::move(spec), std::move(name)));
    StageParam& param = params.back();
    if (param.spec.tied_to_embedding) {
      param.is_tied_copy = true;
      param.source_name = "embedding.word_embeddings.weight";
    }
    param.has_tied_copy = is_embedding && is_split && !model.untie_embeddings_and_output_weights;
  }
}

std::vector<ElementRange> in_elements(const std::vector<UnitRange>& units, std::int64_t per_unit) {
  std::vector<ElementRange> ranges;
  ranges.reserve(units.size());
  for (const UnitRange& range : units) {
    ranges.push_back({range.first * per_unit, range.num * per_unit});
  }
  return ranges;
}

/// Divides the parameters, last first, into buckets of about the same number of elements.
std::vector<std::size_t> bucket_of_params(const std::vector<StageParam>& params,
                                          std::int64_t num_buckets) {
  double total = 0.0;
  for (const StageParam& param : params) {
    total += static_cast<double>(param.spec.num_elements());
  }
  std::vector<std::size_t> bucket(params.size());
  double before = 0.0;
  for (std::size_t i = params.size(); i-- > 0;) {
    const double middle = before + static_cast<double>(params[i].spec.num_elements()) / 2.0;
    const double place = middle / total * static_cast<double>(num_buckets);
    bucket[i] =
        std::min(static_cast<std::size_t>(place), static_cast<std::size_t>(num_buckets - 1));
    before += static_cast<double>(params[i].spec.num_elements());
  }
  return bucket;
}

bool is_prefix(const std::vector<ElementRange>& compute, ElementRange sync) {
  return compute.size() == 1 && compute.front().first == sync.first &&
         compute.front().num <= sync.num;
}

}  // namespace

ElementRange overlap(ElementRange a, ElementRange b) {
  const std::int64_t first = std::max(a.first, b.first);
  return {first, std::max<std::int64_t>(0, std::min(a.end(), b.end()) - first)};
}

std::int64_t StageParam::num_units() const {
  return is_divided() ? spec.over_tp->num_units : 1;
}

std::int64_t StageParam::elements_per_unit() const {
  return spec.num_elements() / num_units();
}

std::int64_t StageParam::rows_per_unit() const {
  require(is_divided(), name + " is not divided");
  return spec.over_tp->unit_size * static_cast<std::int64_t>(spec.over_tp->bases.size());
}

LayerRange layers_of(const ModelSpec& model,
                     const ParallelSizes& sizes,
                     PpRank stage,
                     std::int64_t vp_stage) {
  // Virtual stages as stages of their own: the layers fill them in order.
  const std::vector<PpRank> chunk_of_layer =
      stages_of_layers(model.num_layers, sizes.pp * sizes.vpp, 1);
  const PpRank chunk(vp_stage * sizes.pp + stage.value());
  const auto [begin, end] = std::equal_range(chunk_of_layer.begin(), chunk_of_layer.end(), chunk);
  return {begin - chunk_of_layer.begin(), end - begin};
}

std::vector<StageParam> stage_params(const ModelSpec& model,
                                     const ParallelSizes& sizes,
                                     PpRank stage,
                                     std::int64_t vp_stage) {
  const bool is_split = sizes.pp > 1;
  std::vector<StageParam> params;
  if (stage.value() == 0 && vp_stage == 0) {
    append_outer(model, ParamPlace::embedding, is_split, params);
  }
  const LayerRange layers = layers_of(model, sizes, stage, vp_stage);
  for (std::int64_t layer = layers.first; layer < layers.first + layers.num; ++layer) {
    for (ParamSpec& spec : layer_params(model)) {
      std::string name = fmt::format("decoder.layers.{}.{}", layer, spec.name);
      params.push_back(stage_param(model, std::move(spec), std::move(name)));
    }
  }
  if (stage.value() == sizes.pp - 1 && vp_stage == sizes.vpp - 1) {
    append_outer(model, ParamPlace::head, is_split, params);
  }
  return params;
}

ShardMaps shard_maps_of(const StageParam& param, std::int64_t tp_size, std::int64_t sync_degree) {
  const bool may_replicate = param.is_divided() && param.spec.over_tp->kind == UnitKind::kv_group;
  Expected<ShardMaps, Infeasible> maps = make_shard_maps(
      param.num_units(), tp_size, sync_degree, may_replicate || !param.is_divided());
  if (!maps) {
    throw InfeasibleError(param.name + ": " + maps.error().reason);
  }
  return std::move(maps).value();
}

std::vector<ElementRange> compute_ranges(const StageParam& param,
                                         const ShardMaps& maps,
                                         TpRank rank) {
  return in_elements(maps.compute.ranges_of(rank), param.elements_per_unit());
}

ElementRange sync_range(const StageParam& param, const ShardMaps& maps, TpRank rank) {
  if (rank.value() >= maps.sync.degree()) {
    return {};
  }
  const auto ranges = in_elements(maps.sync.ranges_of(rank), param.elements_per_unit());
  require(ranges.size() == 1, "the units of a sync rank are contiguous");
  return ranges.front();
}

StageLayout make_stage_layout(const std::vector<StageParam>& params,
                              std::int64_t tp_size,
                              std::int64_t sync_degree,
                              TpRank rank,
                              std::int64_t num_buckets,
                              std::int64_t num_peers) {
  StageLayout layout;
  layout.slots.resize(params.size());
  layout.buckets.resize(static_cast<std::size_t>(num_buckets));
  const std::vector<std::size_t> bucket_of = bucket_of_params(params, num_buckets);
  for (std::size_t i = params.size(); i-- > 0;) {
    ParamSlot& slot = layout.slots[i];
    BucketShape& bucket = layout.buckets[bucket_of[i]];
    const ShardMaps maps = shard_maps_of(params[i], tp_size, sync_degree);
    slot.bucket = bucket_of[i];
    slot.compute = compute_ranges(params[i], maps, rank);
    slot.sync = sync_range(params[i], maps, rank);
    for (const ElementRange& range : slot.compute) {
      slot.num_compute += range.num;
    }
    slot.sync_offset = bucket.num_sync;
    bucket.params.push_back(i);
    bucket.num_sync += round_up(slot.sync.num, kSlotAlignment);
  }
  for (BucketShape& bucket : layout.buckets) {
    bucket.num_sync = round_up(bucket.num_sync, kSlotAlignment * num_peers);
    bucket.num = bucket.num_sync;
    for (const std::size_t i : bucket.params) {
      ParamSlot& slot = layout.slots[i];
      if (is_prefix(slot.compute, slot.sync)) {
        slot.compute_offset = slot.sync_offset;
      } else {
        slot.compute_offset = bucket.num;
        bucket.num += round_up(slot.num_compute, kSlotAlignment);
      }
    }
  }
  return layout;
}

}  // namespace runflat::exec
