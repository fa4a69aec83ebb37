#pragma once

#include "kernels/data_type.hpp"

#include <cstdint>

namespace runflat::kernels {

/// What one rank's columns say of a row of logits, so that the ranks' triples give the whole row's
/// softmax: max, the sum of exp(logit - max), and the target's logit (0 where it is elsewhere).
inline constexpr std::int64_t kCrossEntropyStats = 3;

/// Statistics of every row over this rank's columns.
struct CrossEntropyStatsArgs {
  const void* logits = nullptr;             ///< [rows, cols]
  const std::int32_t* targets = nullptr;    ///< [rows], vocabulary ids
  const std::int32_t* local_row = nullptr;  ///< [vocabulary]: column of an id here, or -1
  void* stats = nullptr;                    ///< [rows, 3], accumulate type
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  DataType type = DataType::fp32;
};

/// From the statistics of all ranks: losses[row] = mask * (log(sum exp) - target's logit), and, in
/// place, logits <- mask * (softmax - [column is the target]): the gradient of the sum of losses.
struct CrossEntropyBackwardArgs {
  void* logits = nullptr;                   ///< [rows, cols]
  const std::int32_t* targets = nullptr;    ///< [rows]
  const std::int32_t* local_row = nullptr;  ///< [vocabulary]
  const void* stats = nullptr;              ///< [num_ranks, rows, 3], accumulate type
  const float* loss_mask = nullptr;         ///< [rows]; weights of the rows
  void* losses = nullptr;                   ///< [rows], accumulate type
  std::int64_t num_ranks = 1;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  DataType type = DataType::fp32;
};

void cross_entropy_stats(const CrossEntropyStatsArgs& args, Stream stream);
void cross_entropy_backward(const CrossEntropyBackwardArgs& args, Stream stream);

void cross_entropy_stats_reference(const CrossEntropyStatsArgs& args);
void cross_entropy_backward_reference(const CrossEntropyBackwardArgs& args);

}  // namespace runflat::kernels
