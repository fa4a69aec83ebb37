#pragma once

#include "core/reader.hpp"
#include "core/value.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace runflat {

enum class ModelFamily { gpt, llama, moe };

/// A transformer, with Megatron's field names and meanings.
struct ModelSpec {
  std::string name;
  ModelFamily family = ModelFamily::gpt;
  std::int64_t num_layers = 0;
  std::int64_t hidden_size = 0;
  std::int64_t ffn_hidden_size = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_query_groups = 0;
  std::int64_t kv_channels = 0;  ///< elements of one head
  std::int64_t seq_length = 0;
  std::int64_t padded_vocab_size = 0;  ///< fixed for the job, whatever the TP degree
  bool gated_linear_unit = false;      ///< SwiGLU: fc1 is [gate; up]
  bool rms_norm = false;               ///< RMSNorm, else LayerNorm
  bool learned_positions = false;      ///< a learned position embedding, else RoPE
  bool add_bias_linear = false;
  bool untie_embeddings_and_output_weights = true;
  std::int64_t num_experts = 0;  ///< 0: dense
  std::int64_t moe_ffn_hidden_size = 0;
  std::int64_t moe_router_topk = 0;

  [[nodiscard]] std::int64_t query_size() const { return num_attention_heads * kv_channels; }
  [[nodiscard]] std::int64_t kv_size() const { return num_query_groups * kv_channels; }
  /// All parameters, those of every expert included.
  [[nodiscard]] std::int64_t num_parameters() const;
  /// Model FLOPs of forward and backward for one sequence of `seq_length` tokens: 6 per
  /// multiply-add weight and token, half of the attention matrix (causal), no recomputation, no
  /// embedding lookup (training-engine.md §1.18).
  [[nodiscard]] double flops_per_sequence() const;

  friend bool operator==(const ModelSpec&, const ModelSpec&) = default;
};

/// `[model]` in Megatron's names. `family` sets the defaults: llama is gated, RMSNorm, RoPE,
/// without biases and untied; gpt has biases, LayerNorm, learned positions and tied embeddings; moe
/// is a llama with experts. `vocab_size` is padded to 128 unless `padded_vocab_size` says
/// otherwise. ParseError for heads not divisible by groups and the like.
[[nodiscard]] ModelSpec read_model(const Reader& in);
[[nodiscard]] Value to_value(const ModelSpec& model);

/// What a rank may own whole pieces of.
enum class UnitKind { kv_group, ffn_column, vocab_row, expert };
[[nodiscard]] std::string to_string(UnitKind kind);

/// How a tensor dimension is divided into units, the smallest slices that may move between ranks.
/// Unit u holds, for every base b in `bases`, the indexes [b + u * unit_size, b + (u+1) *
/// unit_size) of `dim`. A gated fc1 has bases {0, ffn}: gate row u and up row u are one unit.
struct UnitSharding {
  UnitKind kind = UnitKind::ffn_column;
  std::int64_t dim = 0;
  std::int64_t num_units = 0;
  std::int64_t unit_size = 0;
  std::vector<std::int64_t> bases = {0};

  friend bool operator==(const UnitSharding&, const UnitSharding&) = default;
};

/// One unit inside its tensor, in elements of the C-order tensor: `num_blocks` blocks of
/// `block_size` contiguous elements, `stride` apart, once for every entry of `first`.
struct UnitBox {
  std::vector<std::int64_t> first;
  std::int64_t num_blocks = 0;
  std::int64_t block_size = 0;
  std::int64_t stride = 0;

  friend bool operator==(const UnitBox&, const UnitBox&) = default;
};

/// Where a parameter lives in the pipeline.
enum class ParamPlace { embedding, layer, head };

/// One parameter tensor. `over_tp` says how tensor parallelism divides it (none: every tp rank
/// holds all of it), `over_ep` how expert parallelism does.
struct ParamSpec {
  std::string name;
  ParamPlace place = ParamPlace::layer;
  std::vector<std::int64_t> shape;  ///< of the whole tensor
  std::optional<UnitSharding> over_tp;
  std::optional<UnitSharding> over_ep;
  bool tied_to_embedding =
      false;  ///< the output layer's use of the embedding: no storage of its own

  [[nodiscard]] std::int64_t num_elements() const;
  /// The box of one tp unit of the whole tensor (all experts); `over_tp` must be there.
  [[nodiscard]] UnitBox unit_box(std::int64_t unit) const;
};

/// The parameters of one layer of this model (names without the layer number).
[[nodiscard]] std::vector<ParamSpec> layer_params(const ModelSpec& model);
/// Embedding, final norm and output layer.
[[nodiscard]] std::vector<ParamSpec> outer_params(const ModelSpec& model);

}  // namespace runflat
