#pragma once

#include "kernels/data_type.hpp"

#include <cstdint>

namespace runflat::kernels {

/// y[t] = table[local_row[ids[t]]], or 0 where this rank does not hold that row (local_row -1).
struct EmbeddingForwardArgs {
  const std::int32_t* ids = nullptr;        ///< [tokens]
  const std::int32_t* local_row = nullptr;  ///< [vocabulary]
  const void* table = nullptr;              ///< [local rows, cols]
  void* y = nullptr;                        ///< [tokens, cols]
  std::int64_t tokens = 0;
  std::int64_t cols = 0;
  DataType type = DataType::fp32;
};

/// dtable[local_row[ids[t]]] += dy[t]. `deterministic` adds in a fixed order.
struct EmbeddingBackwardArgs {
  const std::int32_t* ids = nullptr;
  const std::int32_t* local_row = nullptr;
  const void* dy = nullptr;   ///< [tokens, cols]
  void* dtable = nullptr;     ///< [local rows, cols], accumulate type
  void* workspace = nullptr;  ///< embedding_backward_workspace() bytes; unused on the host
  std::int64_t tokens = 0;
  std::int64_t cols = 0;
  std::int64_t local_rows = 0;
  bool deterministic = true;
  DataType type = DataType::fp32;
};

[[nodiscard]] std::int64_t embedding_backward_workspace(std::int64_t tokens,
                                                        std::int64_t local_rows);

/// x[t] += table[first_position + t / batch_size]; backward: dtable[...] += dx[t], in a fixed
/// order.
struct PositionsArgs {
  void* x = nullptr;            ///< [tokens, cols]; the gradient in backward, which only reads it
  const void* table = nullptr;  ///< [positions, cols]; forward
  void* dtable = nullptr;       ///< [positions, cols], accumulate type; backward
  std::int64_t tokens = 0;
  std::int64_t cols = 0;
  std::int64_t batch_size = 1;
  std::int64_t first_position = 0;
  DataType type = DataType::fp32;
};

void embedding_forward(const EmbeddingForwardArgs& args, Stream stream);
void embedding_backward(const EmbeddingBackwardArgs& args, Stream stream);
void positions_forward(const PositionsArgs& args, Stream stream);
void positions_backward(const PositionsArgs& args, Stream stream);

void embedding_forward_reference(const EmbeddingForwardArgs& args);
void embedding_backward_reference(const EmbeddingBackwardArgs& args);
void positions_forward_reference(const PositionsArgs& args);
void positions_backward_reference(const PositionsArgs& args);

}  // namespace runflat::kernels
