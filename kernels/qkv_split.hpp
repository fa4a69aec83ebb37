#pragma once

#include "kernels/data_type.hpp"

#include <cstdint>

namespace runflat::kernels {

/// Takes the output of linear_qkv apart and applies RoPE to queries and keys. Token t (row) is
/// position t / batch_size: activations are [s, b, ...]. A rank that shares a kv-group with others
/// uses the query heads [first_head, first_head + num_heads) of each of its groups only.
struct QkvSplitArgs {
  void* qkv = nullptr;        ///< [tokens, groups, heads_per_group + 2, head_size]: q.., k, v
  void* q = nullptr;          ///< [tokens, groups * num_heads, head_size]
  void* k = nullptr;          ///< [tokens, groups, head_size]
  void* v = nullptr;          ///< [tokens, groups, head_size]
  const void* cos = nullptr;  ///< [positions, head_size / 2], accumulate type; nullptr: no RoPE
  const void* sin = nullptr;
  std::int64_t tokens = 0;
  std::int64_t batch_size = 1;
  std::int64_t groups = 0;
  std::int64_t heads_per_group = 0;
  std::int64_t first_head = 0;
  std::int64_t num_heads = 0;
  std::int64_t head_size = 0;
  DataType type = DataType::fp32;
};

/// qkv -> q, k, v: (a, b) of the two halves of a head becomes (a cos - b sin, b cos + a sin), the
/// "rotate half" form of Hugging Face and Megatron.
void qkv_split(const QkvSplitArgs& args, Stream stream);
/// Gradients q, k, v -> qkv, rotated back; heads that this rank does not use get 0.
void qkv_merge(const QkvSplitArgs& args, Stream stream);

void qkv_split_reference(const QkvSplitArgs& args);
void qkv_merge_reference(const QkvSplitArgs& args);

}  // namespace runflat::kernels
