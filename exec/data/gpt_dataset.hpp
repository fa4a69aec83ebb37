#pragma once

#include "exec/data/dataset_split.hpp"
#include "exec/data/indexed_dataset.hpp"
#include "exec/data/sample_source.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace runflat::exec {

struct GptDatasetConfig {
  SequenceRange sequences{};  ///< what this split may read; Megatron calls them documents
  std::int64_t seq_length = 0;
  std::int64_t num_samples = 0;  ///< at least so many, by repetition; 0: what one epoch holds
  std::uint32_t seed = 0;
  std::int64_t vocab_size = 0;                  ///< every token is below
  bool drop_last_partial_sequence = true;       ///< else the last sample may be padded
  std::optional<std::int64_t> eod_mask_loss{};  ///< the token behind which no loss counts
};

/// Samples of seq_length + 1 tokens in the order of Megatron's GPTDataset, to the number
/// (training-engine.md §1.16). The sequences of all epochs are shuffled and laid end to end, a
/// sample begins every seq_length tokens of that, and the samples are shuffled. An epoch that
/// contributes less than 80 % of its samples is shuffled on its own and comes last.
/// Positions and attention run across document boundaries: Megatron's defaults.
class GptDataset : public SampleSource {
 public:
  /// ParseError where the sequences have no tokens to make a sample of.
  GptDataset(IndexedDataset data, const GptDatasetConfig& config);

  [[nodiscard]] std::int64_t num_samples() const override {
    return static_cast<std::int64_t>(shuffle_index_.size());
  }
  [[nodiscard]] std::int64_t seq_length() const override { return config_.seq_length; }

  /// Padding is token 0 and label 0 with mask 0. ParseError for a token outside the vocabulary.
  void fill(std::int64_t sample,
            std::span<std::int64_t> tokens,
            std::span<std::int64_t> labels,
            std::span<float> loss_mask) const override;

  /// Sequences of the IndexedDataset in the order they are read, all epochs.
  [[nodiscard]] std::span<const std::int32_t> document_index() const { return document_index_; }
  /// Which unshuffled sample a sample is.
  [[nodiscard]] std::span<const std::int64_t> shuffle_index() const { return shuffle_index_; }

  struct Place {
    std::int64_t document = 0;  ///< entry of document_index()
    std::int64_t offset = 0;    ///< token of that sequence

    friend bool operator==(const Place&, const Place&) = default;
  };
  /// Row of Megatron's sample_index: where an unshuffled sample begins. It is worked out and not
  /// stored. The token at num_samples() * seq_length is the last that the samples use.
  [[nodiscard]] Place sample_index(std::int64_t sample) const;

 private:
  struct Epochs {
    std::int64_t num = 1;
    bool separate_final = false;
    std::int64_t num_samples_before_final = 0;
  };
  [[nodiscard]] std::int64_t num_tokens_per_epoch() const;
  [[nodiscard]] Epochs count_epochs() const;
  void build_indexes(const Epochs& epochs);
  [[nodiscard]] std::int64_t count_samples() const;
  [[nodiscard]] Place place_of(std::int64_t position) const;
  void read_stream(std::int64_t position, std::span<std::int64_t> tokens) const;
  void check_vocabulary(std::int64_t sequence,
                        std::int64_t first,
                        std::span<const std::int64_t> tokens) const;

  IndexedDataset data_;
  GptDatasetConfig config_;
  std::vector<std::int32_t> document_index_;
  std::vector<std::int64_t> document_starts_;  // token of the stream; one more entry for its end
  std::vector<std::int64_t> shuffle_index_;
};

}  // namespace runflat::exec
