#pragma once

#include "core/id.hpp"
#include "core/layout.hpp"
#include "core/model.hpp"
#include "exec/device/device.hpp"
#include "exec/training/bucket_exchange.hpp"
#include "exec/training/param_layout.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace runflat::exec {

/// A parameter that this rank computes with: a matrix of its units' rows, or a vector.
struct ParamRef {
  void* weight = nullptr;
  void* grad = nullptr;  ///< accumulate type
  std::int64_t num = 0;

  explicit operator bool() const { return weight != nullptr; }
};

/// Optimizer state of a range of a bucket's sync area.
struct OptimizerSlice {
  ElementRange elements;  ///< of the sync area
  /// Empty where weights are of the accumulate type and the slice is this rank's own: they are the
  /// masters. A copy has masters of its own, which no exchange of weights writes to.
  Buffer master{};
  Buffer exp_avg{};
  Buffer exp_avg_sq{};
};

/// One bucket of a virtual stage on one rank.
struct Bucket {
  BucketShape shape;
  BucketExchange exchange;
  Buffer weights{};
  Buffer grads{};          ///< accumulate type
  Buffer staging{};        ///< of the exchange
  OptimizerSlice slice{};  ///< empty on extra ranks
  /// A second copy of a peer's slice, kept up to date by the same updates.
  std::optional<OptimizerSlice> buddy{};
  Buffer buddy_grads{};  ///< of its elements
};

/// Where one rank stands, and what it keeps: all that fixes the memory of its parameters.
struct StagePlace {
  ModelSpec model;
  ParallelSizes sizes;
  PpRank stage;
  std::int64_t vp_stage = 0;
  std::int64_t tp_size = 1;
  std::int64_t sync_degree = 1;
  TpRank tp_rank;
  std::int64_t peer = 0;       ///< index among the ranks that share the sync area
  std::int64_t num_peers = 1;  ///< replicas, times CP
  std::int64_t num_buckets = 1;
  bool is_sharded = false;  ///< ZeRO-1: the peers divide the optimizer state
  /// Under ZeRO-1 with redundancy: the peer whose slice this rank keeps a copy of, and the one that
  /// keeps this rank's.
  std::optional<std::int64_t> keeps_copy_of;
  std::optional<std::int64_t> copy_is_kept_by;
  bool sequence_parallel = false;
  DataType type = DataType::fp32;
};

/// Parameters, gradients and optimizer state of a virtual stage on one rank.
class StageState {
 public:
  StageState(Device& device, const StagePlace& place);

  [[nodiscard]] const StagePlace& place() const { return place_; }
  [[nodiscard]] const std::vector<StageParam>& params() const { return params_; }
  [[nodiscard]] const StageLayout& layout() const { return layout_; }
  [[nodiscard]] std::vector<Bucket>& buckets() { return buckets_; }
  [[nodiscard]] DataType type() const { return place_.type; }
  [[nodiscard]] DataType accumulate_type() const { return kernels::accumulate_type(place_.type); }

  /// Nothing where the stage has no parameter of this name.
  [[nodiscard]] ParamRef find(std::string_view name);
  [[nodiscard]] std::optional<std::size_t> index_of(std::string_view name) const;

  /// Whether this rank is the first that synchronises its share of the parameter, and not the tied
  /// copy of it: what is summed or saved over all ranks counts there.
  [[nodiscard]] bool counts(std::size_t param) const;

  /// The master at a place of the bucket's sync area that the slice holds.
  [[nodiscard]] void* master_at(const Bucket& bucket,
                                const OptimizerSlice& slice,
                                std::int64_t sync_offset) const;

  /// Draws all weights this rank holds: they depend on (seed, parameter, element) alone.
  void initialise(std::uint64_t seed);
  /// Before a step: the gradients that its first microbatch adds to.
  void zero_grads();
  /// Makes the weights of its own slices from their masters, where these are not the weights.
  void cast_masters();

  /// Frees gradients, what exchanges need, and weights that are not masters.
  void keep_optimizer_state();

  /// The peers' slices of a sync area: equal parts.
  [[nodiscard]] static ElementRange slice_of(const BucketShape& bucket,
                                             std::int64_t peer,
                                             std::int64_t num_peers);

 private:
  [[nodiscard]] OptimizerSlice make_slice(const BucketShape& shape,
                                          std::int64_t peer,
                                          std::int64_t num_parts,
                                          bool has_masters);
  void draw(std::uint64_t seed, std::size_t param);
  /// Masters of a slice, from the weights as drawn in full precision.
  void draw_masters(std::uint64_t seed, const Bucket& bucket, OptimizerSlice& slice);

  Device& device_;
  StagePlace place_;
  std::vector<StageParam> params_;
  StageLayout layout_;
  std::vector<Bucket> buckets_;
};

/// What a parameter and an optimizer slice share: elements of the parameter, and where they start
/// in the sync area.
struct SliceRun {
  std::size_t param = 0;
  ElementRange elements;         ///< of the parameter, unit-major
  std::int64_t sync_offset = 0;  ///< in the bucket's sync area
};
[[nodiscard]] std::vector<SliceRun> runs_of(const StageLayout& layout,
                                            const BucketShape& bucket,
                                            ElementRange slice);

/// FNV-1a of a parameter's name: which random numbers its values are.
[[nodiscard]] std::uint64_t stream_of(std::string_view name);

}  // namespace runflat::exec
