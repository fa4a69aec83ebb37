#pragma once

#include "core/id.hpp"
#include "core/layout.hpp"
#include "core/model.hpp"
#include "core/shard_map.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace runflat::exec {

/// Elements `[first, first + num)` of a parameter in unit-major order: unit after unit, and each
/// unit's elements together. Stored so, whatever set of units a rank holds is contiguous, and the
/// share of a sync rank is one range of the whole parameter.
///
/// A unit of a column-parallel weight is its rows; of a gated fc1, the gate row and the up row of
/// one ffn column; of a row-parallel weight, its columns, so that the tensor is stored transposed:
/// [units * unit_size, out]. A parameter that tensor parallelism does not divide is one unit.
struct ElementRange {
  std::int64_t first = 0;
  std::int64_t num = 0;

  [[nodiscard]] std::int64_t end() const { return first + num; }
  friend bool operator==(const ElementRange&, const ElementRange&) = default;
};

/// What two ranges share; num 0 where they share nothing.
[[nodiscard]] ElementRange overlap(ElementRange a, ElementRange b);

/// How the values of a parameter start.
struct InitialValue {
  double mean = 0.0;
  double std = 0.0;
};

/// A parameter that a virtual stage holds.
struct StageParam {
  ParamSpec spec;
  std::string name;           ///< in Megatron's checkpoints: decoder.layers.3.mlp.linear_fc1.weight
  std::string source_name;    ///< that of the values: the embedding's for its tied copy
  bool is_tied_copy = false;  ///< the last stage's copy of the embedding
  bool has_tied_copy = false;  ///< the embedding, where the last stage holds a copy
  InitialValue initial;

  [[nodiscard]] std::int64_t num_units() const;
  [[nodiscard]] std::int64_t elements_per_unit() const;
  [[nodiscard]] bool is_divided() const { return spec.over_tp.has_value(); }
  /// Elements of one unit of the unit's dim: what multiplies units to rows of the stored tensor.
  [[nodiscard]] std::int64_t rows_per_unit() const;
  /// Weights decay, vectors do not.
  [[nodiscard]] bool decays() const { return spec.shape.size() > 1; }
};

/// The global number of the layers of virtual stage `vp_stage` of stage `stage`.
struct LayerRange {
  std::int64_t first = 0;
  std::int64_t num = 0;
};
[[nodiscard]] LayerRange layers_of(const ModelSpec& model,
                                   const ParallelSizes& sizes,
                                   PpRank stage,
                                   std::int64_t vp_stage);

/// The parameters of a virtual stage in the order in which the forward pass uses them.
[[nodiscard]] std::vector<StageParam> stage_params(const ModelSpec& model,
                                                   const ParallelSizes& sizes,
                                                   PpRank stage,
                                                   std::int64_t vp_stage);

/// How a cell's ranks divide one parameter. `tp_size` is the cell's, `sync_degree` its stage's.
[[nodiscard]] ShardMaps shard_maps_of(const StageParam& param,
                                      std::int64_t tp_size,
                                      std::int64_t sync_degree);

/// Which elements a tp rank of a cell computes with, ascending, and which it synchronises (none on
/// extra ranks).
[[nodiscard]] std::vector<ElementRange> compute_ranges(const StageParam& param,
                                                       const ShardMaps& maps,
                                                       TpRank rank);
[[nodiscard]] ElementRange sync_range(const StageParam& param, const ShardMaps& maps, TpRank rank);

/// Where one parameter lies in its bucket's memory on one rank, in elements.
struct ParamSlot {
  std::size_t bucket = 0;
  std::vector<ElementRange> compute;
  ElementRange sync;
  std::int64_t num_compute = 0;
  std::int64_t sync_offset = 0;     ///< in the sync area, which all DP peers lay out alike
  std::int64_t compute_offset = 0;  ///< of its compute ranges, one after another

  /// The compute elements are the first of the sync elements, in the same memory.
  [[nodiscard]] bool is_in_place() const {
    return num_compute > 0 && compute_offset == sync_offset;
  }
};

/// The memory of a bucket of parameters, or of their gradients, on one rank: the sync area, padded
/// so that the DP peers can divide it evenly, then the compute ranges that are not in it.
struct BucketShape {
  std::vector<std::size_t> params;  ///< indexes of stage_params, in backward order
  std::int64_t num_sync = 0;
  std::int64_t num = 0;
};

/// Where the parameters of a virtual stage lie on one rank.
struct StageLayout {
  std::vector<ParamSlot> slots;  ///< by parameter
  std::vector<BucketShape> buckets;
};

/// `num_peers`: ranks that share the sync area (DP times CP). The first bucket holds the last
/// parameters; buckets have about the same number of elements.
[[nodiscard]] StageLayout make_stage_layout(const std::vector<StageParam>& params,
                                            std::int64_t tp_size,
                                            std::int64_t sync_degree,
                                            TpRank rank,
                                            std::int64_t num_buckets,
                                            std::int64_t num_peers);

}  // namespace runflat::exec
