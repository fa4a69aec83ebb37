#pragma once

#include "core/model.hpp"

#include <cstdint>

namespace runflat::sim {

/// A GPT with 4h MLP and tied embeddings.
[[nodiscard]] inline ModelSpec gpt_model(std::int64_t layers,
                                         std::int64_t hidden,
                                         std::int64_t heads,
                                         std::int64_t seq_length = 2048,
                                         std::int64_t vocab = 51200) {
  ModelSpec model;
  model.family = ModelFamily::gpt;
  model.num_layers = layers;
  model.hidden_size = hidden;
  model.ffn_hidden_size = 4 * hidden;
  model.num_attention_heads = heads;
  model.num_query_groups = heads;
  model.kv_channels = hidden / heads;
  model.seq_length = seq_length;
  model.padded_vocab_size = vocab;
  model.untie_embeddings_and_output_weights = false;
  return model;
}

/// Llama-3 405B's shape, with grouped queries and a gated MLP.
[[nodiscard]] inline ModelSpec llama_405b() {
  ModelSpec model = gpt_model(126, 16384, 128, 8192, 128256);
  model.family = ModelFamily::llama;
  model.ffn_hidden_size = 53248;
  model.num_query_groups = 8;
  model.gated_linear_unit = true;
  model.rms_norm = true;
  model.untie_embeddings_and_output_weights = true;
  return model;
}

/// Mixtral 8x7B's shape.
[[nodiscard]] inline ModelSpec mixtral() {
  ModelSpec model = gpt_model(32, 4096, 32, 4096, 32000);
  model.family = ModelFamily::moe;
  model.ffn_hidden_size = 14336;
  model.moe_ffn_hidden_size = 14336;
  model.num_query_groups = 8;
  model.gated_linear_unit = true;
  model.rms_norm = true;
  model.num_experts = 8;
  model.moe_router_topk = 2;
  model.untie_embeddings_and_output_weights = true;
  return model;
}

}  // namespace runflat::sim
