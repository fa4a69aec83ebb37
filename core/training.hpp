#pragma once

#include "core/reader.hpp"
#include "core/value.hpp"

#include <cstdint>

namespace runflat {

enum class Precision : std::uint8_t { fp16, bf16, fp8, fp32 };
/// What the backward pass computes again instead of reading it from memory: nothing, the attention
/// scores, or whole layers.
enum class Recompute : std::uint8_t { none, selective, full };

/// How a job trains, whatever its layout. Megatron's names.
struct TrainingSpec {
  std::int64_t micro_batch_size = 1;   ///< sequences
  std::int64_t global_batch_size = 1;  ///< sequences
  Precision precision = Precision::bf16;
  Recompute recompute = Recompute::selective;
  std::int64_t zero_stage = 1;  ///< 0: optimizer state on every DP rank; 1 to 3 as in ZeRO
  bool sequence_parallel = true;

  friend bool operator==(const TrainingSpec&, const TrainingSpec&) = default;
};

/// `[training]`: micro_batch_size, global_batch_size, precision, recompute, zero_stage,
/// sequence_parallel.
[[nodiscard]] TrainingSpec read_training(const Reader& in);
/// The same of a table that holds more; whoever reads the rest calls finish().
[[nodiscard]] TrainingSpec read_training(ObjectReader& members);
[[nodiscard]] Value to_value(const TrainingSpec& training);

}  // namespace runflat
