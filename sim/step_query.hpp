#pragma once

#include "core/error.hpp"
#include "core/model.hpp"
#include "core/training.hpp"

#include <cstdint>
#include <optional>

namespace runflat::sim {

/// How context parallelism shares keys and values.
enum class ContextExchange { ring, all_gather, all_to_all };

/// One replica of a job: what to price. Degrees as in Megatron; `tp` may be any number.
struct StepQuery {
  std::int64_t tp = 1;
  std::int64_t cp = 1;
  std::int64_t ep = 1;
  std::int64_t dp = 1;
  std::int64_t pp = 1;
  std::int64_t vpp = 1;
  std::int64_t micro_batch_size = 1;
  std::int64_t num_microbatches = 1;

  bool sequence_parallel = false;
  Recompute recompute = Recompute::none;
  std::int64_t zero_stage = 0;
  Precision precision = Precision::bf16;
  /// Layers of each stage computed again whole, beyond what `recompute` says.
  std::int64_t num_recompute_layers = 0;
  ContextExchange context_exchange = ContextExchange::ring;

  /// Off: that communication is fully exposed. On: as far as the release overlaps it.
  bool overlap_data = true;
  bool overlap_tensor = true;
  bool overlap_pipeline = true;

  /// Nonuniform TP: the smallest tp of any replica, over which gradients are synchronised. Less
  /// than `tp` makes this a healthy replica that reshards. 0: all replicas have `tp`.
  std::int64_t tp_sync = 0;
  /// Power of every GPU of the replica over its TDP.
  double power_multiple = 1.0;
  /// Tokens that the busiest expert-parallel rank gets over the mean.
  double expert_imbalance = 1.0;
  /// GPUs of the whole job, for stragglers; 0: tp cp dp pp.
  std::int64_t num_gpus = 0;

  [[nodiscard]] std::int64_t gpus() const { return num_gpus > 0 ? num_gpus : tp * cp * dp * pp; }
  [[nodiscard]] std::int64_t sync_tp() const { return tp_sync > 0 ? tp_sync : tp; }
};

/// The largest share of a model that one rank holds: whole units, so a degree that does not divide
/// them costs the ceiling. Attention is divided by query heads, and the keys and values of a group
/// are replicated to every rank that has heads of it.
struct RankShare {
  double heads = 0.0;
  double kv_heads = 0.0;
  double ffn = 0.0;         ///< columns of the dense MLP
  double expert_ffn = 0.0;  ///< columns of one expert
  double experts = 0.0;     ///< experts of this rank
  double vocab = 0.0;
  double layers = 0.0;        ///< of a middle stage
  double first_layers = 0.0;  ///< of the first stage: layers that do not fill all stages leave room
  double last_layers = 0.0;   ///< for the embedding there and for the output layer here
};

/// Nothing, or the reason that this replica cannot run: a degree above what it divides, a chunk
/// without layers, a number of microbatches that interleaving cannot schedule.
[[nodiscard]] std::optional<Infeasible> check_query(const ModelSpec& model, const StepQuery& query);

/// The share of the busiest rank. `query` must have passed check_query.
[[nodiscard]] RankShare rank_share(const ModelSpec& model, const StepQuery& query);

}  // namespace runflat::sim
