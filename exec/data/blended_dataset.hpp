#pragma once

#include "exec/data/sample_source.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace runflat::exec {

/// Samples to ask of each data set of a blend, by weight, so that it does not run out: with
/// Megatron's half per cent to spare (training-engine.md §1.16). Weights are above 0; only their
/// proportions count.
[[nodiscard]] std::vector<std::int64_t> blend_requests(std::span<const double> weights,
                                                       std::int64_t num_samples);

/// Several sources in given proportions, in the order of Megatron's BlendedDataset: every sample
/// comes from the source that is furthest behind its share, the first of them in a tie, and is that
/// source's next one. (Eight weights and more are summed in another order than numpy's, which can
/// change a share's last bit.)
class BlendedDataset : public SampleSource {
 public:
  /// The sources have one seq_length; at most 32,767. InvalidArgument where a source has fewer
  /// samples than its share comes to.
  BlendedDataset(std::vector<std::unique_ptr<SampleSource>> sources,
                 std::span<const double> weights,
                 std::int64_t num_samples);

  [[nodiscard]] std::int64_t num_samples() const override {
    return static_cast<std::int64_t>(source_index_.size());
  }
  [[nodiscard]] std::int64_t seq_length() const override { return sources_.front()->seq_length(); }
  void fill(std::int64_t sample,
            std::span<std::int64_t> tokens,
            std::span<std::int64_t> labels,
            std::span<float> loss_mask) const override;

  /// Of every sample: its source, and which of the source's samples it is.
  [[nodiscard]] std::span<const std::int16_t> source_index() const { return source_index_; }
  [[nodiscard]] std::span<const std::int64_t> source_sample_index() const {
    return source_sample_index_;
  }

 private:
  std::vector<std::unique_ptr<SampleSource>> sources_;
  std::vector<std::int16_t> source_index_;
  std::vector<std::int64_t> source_sample_index_;
};

}  // namespace runflat::exec
