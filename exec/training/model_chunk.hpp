#pragma once

#include "exec/device/device.hpp"
#include "exec/training/layer.hpp"
#include "exec/training/stage_state.hpp"
#include "exec/training/tensor_parallel.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace runflat::exec {

/// The tokens of one microbatch, [s, b] in the device's memory.
struct Microbatch {
  Buffer ids;        ///< int32 [tokens]
  Buffer targets;    ///< int32 [tokens]
  Buffer loss_mask;  ///< float [tokens]
  Buffer losses;     ///< [tokens], accumulate type: what the last virtual stage writes
};

/// What one microbatch needs on one virtual stage between its forward and its backward.
struct ChunkActivations {
  std::vector<LayerActivations> layers;
  Buffer out;   ///< [local tokens, h]: the output, or on the last virtual stage the head's input
  Buffer grad;  ///< [local tokens, h]: the gradient of `out`, then that of the input
};

/// One virtual stage of the model on one rank: embedding, layers, head, as far as it has them.
///
/// The head's forward pass computes its own gradients at once, so that logits never wait: `grad`
/// holds what the backward pass of the layers starts from.
class ModelChunk {
 public:
  ModelChunk(Device& device, TensorParallel& tp, LayerRunner& layers, StageState& state);

  [[nodiscard]] bool has_embedding() const { return has_embedding_; }
  [[nodiscard]] bool has_head() const { return has_head_; }
  [[nodiscard]] ChunkActivations make_activations();
  /// Where the chunk's input goes that comes from the previous stage.
  [[nodiscard]] void* input(ChunkActivations& act) const;

  /// `is_first`: microbatch of the step; gradients of weights are then not added to.
  void forward(const Microbatch& batch, ChunkActivations& act, bool is_first);
  /// `params_ready(i)`: the gradients of all parameters from the i-th on are complete, as far as
  /// this microbatch goes.
  void backward(const Microbatch& batch,
                ChunkActivations& act,
                bool is_first,
                const std::function<void(std::size_t)>& params_ready);
  /// Loss alone, without gradients.
  void evaluate(const Microbatch& batch, ChunkActivations& act);
  /// Logits alone, on the last virtual stage: [tokens, rows of the output layer here]. They are
  /// there until the next pass.
  [[nodiscard]] const Buffer& predict(const Microbatch& batch, ChunkActivations& act);

 private:
  void embed(const Microbatch& batch, void* out);
  void embed_backward(const Microbatch& batch, void* grad);
  void run_layers(const Microbatch& batch, ChunkActivations& act);
  /// Makes the logits; returns the output layer's input.
  void* logits(ChunkActivations& act);
  /// The losses; `logits_` then holds their gradients.
  void losses(const Microbatch& batch);
  void head_gradients(ChunkActivations& act, void* input, bool is_first);
  [[nodiscard]] std::size_t first_param_of_layer(std::size_t layer) const;

  Device& device_;
  TensorParallel& tp_;
  LayerRunner& layers_;
  StageState& state_;
  std::int64_t hidden_;
  std::int64_t vocabulary_;
  LayerRange range_;
  bool has_embedding_;
  bool has_head_;
  std::vector<LayerParams> params_;
  ParamRef words_, positions_, final_gain_, final_bias_, output_;
  std::int64_t output_rows_ = 0;
  Buffer word_row_;     ///< int32 [vocabulary]: row of the embedding here, or -1
  Buffer output_row_;   ///< the same for the output layer
  Buffer full_;         ///< [tokens, h]
  Buffer normed_;       ///< [local tokens, h]
  Buffer full_normed_;  ///< [tokens, h]
  Buffer mean_, rstd_;  ///< [local tokens]
  Buffer logits_;       ///< [tokens, output rows]
  Buffer stats_;        ///< [tp, tokens, 3]
};

}  // namespace runflat::exec
