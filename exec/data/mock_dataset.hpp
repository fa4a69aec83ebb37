#pragma once

#include "exec/data/sample_source.hpp"

#include <cstdint>
#include <span>

namespace runflat::exec {

struct MockDatasetConfig {
  std::int64_t seq_length = 0;
  std::int64_t num_samples = 0;
  std::int64_t vocab_size = 0;
  std::uint64_t seed = 0;
};

/// Samples that need no file: counting upwards modulo the vocabulary, from a start and in a step of
/// 1 to 7 that depend on (seed, sample) only. Every id occurs, and a model can learn it.
class MockDataset : public SampleSource {
 public:
  explicit MockDataset(const MockDatasetConfig& config);

  [[nodiscard]] std::int64_t num_samples() const override { return config_.num_samples; }
  [[nodiscard]] std::int64_t seq_length() const override { return config_.seq_length; }
  void fill(std::int64_t sample,
            std::span<std::int64_t> tokens,
            std::span<std::int64_t> labels,
            std::span<float> loss_mask) const override;

 private:
  MockDatasetConfig config_;
};

}  // namespace runflat::exec
