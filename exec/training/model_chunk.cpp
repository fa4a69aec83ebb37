#include "exec/training/model_chunk.hpp"

#include "core/error.hpp"
#include "exec/training/linear.hpp"

#include <algorithm>

namespace runflat::exec {
namespace {

/// Which row of this rank's part of a vocabulary matrix holds an id, or -1.
std::vector<std::int32_t> row_table(const StageState& state,
                                    std::size_t param,
                                    std::int64_t vocabulary,
                                    std::int64_t hidden) {
  std::vector<std::int32_t> rows(static_cast<std::size_t>(vocabulary), -1);
  std::int32_t next = 0;
  for (const ElementRange& range : state.layout().slots[param].compute) {
    for (std::int64_t id = range.first / hidden; id < range.end() / hidden; ++id) {
      rows[static_cast<std::size_t>(id)] = next++;
    }
  }
  return rows;
}

}  // namespace

ModelChunk::ModelChunk(Device& device, TensorParallel& tp, LayerRunner& layers, StageState& state)
    : device_(device),
      tp_(tp),
      layers_(layers),
      state_(state),
      hidden_(state.place().model.hidden_size),
      vocabulary_(state.place().model.padded_vocab_size),
      range_(layers_of(
          state.place().model, state.place().sizes, state.place().stage, state.place().vp_stage)),
      has_embedding_(state.find("embedding.word_embeddings.weight").num > 0),
      has_head_(state.find("decoder.final_layernorm.weight").num > 0) {
  const std::int64_t tokens = tp.tokens().tokens();
  const DataType type = state.type();
  const DataType accumulate = state.accumulate_type();
  const auto make = [&](std::int64_t num, DataType of) {
    return device.allocate(num * kernels::size_of(of));
  };
  const auto make_rows = [&](const char* name) {
    const auto rows = row_table(state, *state.index_of(name), vocabulary_, hidden_);
    Buffer table = make(vocabulary_, DataType::int32);
    device.copy_in(table.data(), rows.data(), table.bytes());
    return table;
  };
  for (std::int64_t layer = range_.first; layer < range_.first + range_.num; ++layer) {
    params_.push_back(layer_params_of(state, layer));
  }
  if (has_embedding_) {
    words_ = state.find("embedding.word_embeddings.weight");
    positions_ = state.find("embedding.position_embeddings.weight");
    word_row_ = make_rows("embedding.word_embeddings.weight");
    full_ = make(tokens * hidden_, type);
  }
  if (has_head_) {
    final_gain_ = state.find("decoder.final_layernorm.weight");
    final_bias_ = state.find("decoder.final_layernorm.bias");
    const bool is_own = state.index_of("output_layer.weight").has_value();
    const char* name = is_own ? "output_layer.weight" : "embedding.word_embeddings.weight";
    output_ = state.find(name);
    output_row_ = make_rows(name);
    output_rows_ = output_.num / hidden_;
    normed_ = make(tp.local_tokens() * hidden_, type);
    full_normed_ = make(tokens * hidden_, type);
    mean_ = make(tp.local_tokens(), accumulate);
    rstd_ = make(tp.local_tokens(), accumulate);
    logits_ = make(tokens * output_rows_, type);
    stats_ = make(tp.size() * tokens * kernels::kCrossEntropyStats, accumulate);
  }
}

ChunkActivations ModelChunk::make_activations() {
  ChunkActivations act;
  for (std::int64_t layer = 0; layer < range_.num; ++layer) {
    act.layers.push_back(layers_.make_activations());
  }
  const std::int64_t bytes = tp_.local_tokens() * hidden_ * kernels::size_of(state_.type());
  act.out = device_.allocate(bytes);
  act.grad = device_.allocate(bytes);
  return act;
}

void* ModelChunk::input(ChunkActivations& act) const {
  return act.layers.empty() ? act.out.data() : act.layers.front().x.data();
}

void ModelChunk::embed(const Microbatch& batch, void* out) {
  void* full = tp_.size() == 1 ? out : full_.data();
  device_.embedding_forward({.ids = static_cast<const std::int32_t*>(batch.ids.data()),
                             .local_row = static_cast<const std::int32_t*>(word_row_.data()),
                             .table = words_.weight,
                             .y = full,
                             .tokens = tp_.tokens().tokens(),
                             .cols = hidden_,
                             .type = state_.type()});
  tp_.join(tp_.reduce(full, hidden_));
  if (full != out) {
    device_.copy(out,
                 tp_.own_part(full, hidden_),
                 tp_.local_tokens() * hidden_ * kernels::size_of(state_.type()));
  }
  if (positions_) {
    device_.positions_forward({.x = out,
                               .table = positions_.weight,
                               .tokens = tp_.local_tokens(),
                               .cols = hidden_,
                               .batch_size = tp_.tokens().batch_size,
                               .first_position = tp_.tokens().first_position(tp_.rank()),
                               .type = state_.type()});
  }
}

void ModelChunk::embed_backward(const Microbatch& batch, void* grad) {
  if (positions_) {
    device_.positions_backward({.x = grad,
                                .dtable = positions_.grad,
                                .tokens = tp_.local_tokens(),
                                .cols = hidden_,
                                .batch_size = tp_.tokens().batch_size,
                                .first_position = tp_.tokens().first_position(tp_.rank()),
                                .type = state_.type()});
  }
  void* full = tp_.make_full(device_, grad, full_.data(), hidden_);
  tp_.join(tp_.gather(full, hidden_));
  device_.embedding_backward({.ids = static_cast<const std::int32_t*>(batch.ids.data()),
                              .local_row = static_cast<const std::int32_t*>(word_row_.data()),
                              .dy = full,
                              .dtable = words_.grad,
                              .tokens = tp_.tokens().tokens(),
                              .cols = hidden_,
                              .local_rows = words_.num / hidden_,
                              .type = state_.type()});
}

void ModelChunk::run_layers(const Microbatch& batch, ChunkActivations& act) {
  if (has_embedding_) {
    embed(batch, input(act));
  }
  for (std::size_t layer = 0; layer < params_.size(); ++layer) {
    void* out = layer + 1 < params_.size() ? act.layers[layer + 1].x.data() : act.out.data();
    layers_.forward(params_[layer], act.layers[layer], out);
  }
}

void ModelChunk::forward(const Microbatch& batch, ChunkActivations& act, bool is_first) {
  run_layers(batch, act);
  if (has_head_) {
    void* input = logits(act);
    losses(batch);
    head_gradients(act, input, is_first);
  }
}

void ModelChunk::evaluate(const Microbatch& batch, ChunkActivations& act) {
  run_layers(batch, act);
  if (has_head_) {
    static_cast<void>(logits(act));
    losses(batch);
  }
}

const Buffer& ModelChunk::predict(const Microbatch& batch, ChunkActivations& act) {
  require(has_head_, "the last virtual stage makes logits");
  run_layers(batch, act);
  static_cast<void>(logits(act));
  return logits_;
}

void* ModelChunk::logits(ChunkActivations& act) {
  const std::int64_t tokens = tp_.tokens().tokens();
  const DataType type = state_.type();
  device_.norm_forward({.x = act.out.data(),
                        .gain = final_gain_.weight,
                        .bias = final_bias_.weight,
                        .y = normed_.data(),
                        .mean = mean_.data(),
                        .rstd = rstd_.data(),
                        .rows = tp_.local_tokens(),
                        .cols = hidden_,
                        .type = type});
  void* input = tp_.make_full(device_, normed_.data(), full_normed_.data(), hidden_);
  tp_.join(tp_.gather(input, hidden_));
  const Linear linear{device_, type, tokens, hidden_};
  linear.from_hidden(input, output_.weight, logits_.data(), output_rows_);
  return input;
}

void ModelChunk::losses(const Microbatch& batch) {
  const std::int64_t tokens = tp_.tokens().tokens();
  const DataType type = state_.type();
  const std::int64_t num_stats = tokens * kernels::kCrossEntropyStats;
  const auto* targets = static_cast<const std::int32_t*>(batch.targets.data());
  const auto* rows = static_cast<const std::int32_t*>(output_row_.data());
  device_.cross_entropy_stats(
      {.logits = logits_.data(),
       .targets = targets,
       .local_row = rows,
       .stats = stats_.at(tp_.rank() * num_stats * kernels::size_of(state_.accumulate_type())),
       .rows = tokens,
       .cols = output_rows_,
       .type = type});
  if (tp_.group() != nullptr) {
    const std::vector<std::int64_t> counts(static_cast<std::size_t>(tp_.size()), num_stats);
    tp_.join(tp_.group()->all_gather(stats_.data(), counts, state_.accumulate_type()));
  }
  device_.cross_entropy_backward({.logits = logits_.data(),
                                  .targets = targets,
                                  .local_row = rows,
                                  .stats = stats_.data(),
                                  .loss_mask = static_cast<const float*>(batch.loss_mask.data()),
                                  .losses = batch.losses.data(),
                                  .num_ranks = tp_.size(),
                                  .rows = tokens,
                                  .cols = output_rows_,
                                  .type = type});
}

void ModelChunk::head_gradients(ChunkActivations& act, void* input, bool is_first) {
  const Linear linear{device_, state_.type(), tp_.tokens().tokens(), hidden_};
  // The gathered input must outlive the product that makes the weight's gradient.
  linear.weight_grad(logits_.data(), input, output_.grad, output_rows_, is_first);
  void* dfull = full_normed_.data();
  linear.to_hidden(logits_.data(), output_.weight, dfull, output_rows_);
  tp_.join(tp_.reduce(dfull, hidden_));
  device_.norm_backward({.dy = tp_.own_part(dfull, hidden_),
                         .z = act.out.data(),
                         .gain = final_gain_.weight,
                         .mean = final_bias_ ? mean_.data() : nullptr,
                         .rstd = rstd_.data(),
                         .dx = act.grad.data(),
                         .dgain = final_gain_.grad,
                         .dbias = final_bias_.grad,
                         .rows = tp_.local_tokens(),
                         .cols = hidden_,
                         .type = state_.type()});
}

std::size_t ModelChunk::first_param_of_layer(std::size_t layer) const {
  const std::string start =
      "decoder.layers." + std::to_string(range_.first + static_cast<std::int64_t>(layer)) + ".";
  const auto& params = state_.params();
  const auto found = std::find_if(params.begin(), params.end(), [&](const StageParam& param) {
    return param.name.starts_with(start);
  });
  return static_cast<std::size_t>(found - params.begin());
}

void ModelChunk::backward(const Microbatch& batch,
                          ChunkActivations& act,
                          bool is_first,
                          const std::function<void(std::size_t)>& params_ready) {
  for (std::size_t layer = params_.size(); layer-- > 0;) {
    layers_.backward(params_[layer], act.layers[layer], act.grad.data(), is_first);
    params_ready(first_param_of_layer(layer));
  }
  if (has_embedding_) {
    embed_backward(batch, act.grad.data());
  }
  params_ready(0);
}

}  // namespace runflat::exec
