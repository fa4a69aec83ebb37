#pragma once

#include "kernels/data_type.hpp"

#include <cstdint>
#include <memory>

namespace runflat::kernels {

/// Causal attention over [s, b, heads, head_size] tensors: out = softmax(scale q k^T) v, position i
/// seeing positions up to i. Query head h uses kv-group h / (heads / groups).
struct AttentionShape {
  std::int64_t seq_length = 0;
  std::int64_t batch_size = 0;
  std::int64_t heads = 0;
  std::int64_t groups = 0;
  std::int64_t head_size = 0;
  double scale = 1.0;
  bool deterministic = false;
  DataType type = DataType::fp32;

  friend bool operator==(const AttentionShape&, const AttentionShape&) = default;
};

struct AttentionForwardArgs {
  AttentionShape shape;
  const void* q = nullptr;  ///< [s, b, heads, head_size]
  const void* k = nullptr;  ///< [s, b, groups, head_size]
  const void* v = nullptr;  ///< [s, b, groups, head_size]
  void* out = nullptr;      ///< [s, b, heads, head_size]
  void* lse = nullptr;      ///< [b, heads, s], accumulate type: log of the softmax's denominator
};

struct AttentionBackwardArgs {
  AttentionShape shape;
  const void* q = nullptr;
  const void* k = nullptr;
  const void* v = nullptr;
  const void* out = nullptr;
  const void* lse = nullptr;
  const void* dout = nullptr;
  void* dq = nullptr;
  void* dk = nullptr;
  void* dv = nullptr;
};

/// cuDNN's attention: graphs are built once per shape and kept. bf16, head sizes that cuDNN knows;
/// std::invalid_argument names what it does not support.
class Attention {
 public:
  Attention();
  Attention(const Attention&) = delete;
  Attention& operator=(const Attention&) = delete;
  ~Attention();

  /// Bytes of workspace that the shape needs; builds its graphs.
  [[nodiscard]] std::int64_t workspace(const AttentionShape& shape);
  void forward(const AttentionForwardArgs& args, void* workspace, Stream stream);
  void backward(const AttentionBackwardArgs& args, void* workspace, Stream stream);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

void attention_forward_reference(const AttentionForwardArgs& args);
void attention_backward_reference(const AttentionBackwardArgs& args);

}  // namespace runflat::kernels
