#include "exec/data/gpt_dataset.hpp"

#include "core/error.hpp"
#include "exec/data/numpy_random.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <numeric>
#include <utility>

namespace runflat::exec {
namespace {

/// A sample needs one token more than it has labels; the next begins with it.
constexpr std::int64_t kExtraToken = 1;

/// Appends `items` `times` times over, shuffled as a whole.
void append_shuffled(std::vector<std::int32_t>& out,
                     std::span<const std::int32_t> items,
                     std::int64_t times,
                     NumpyRandomState& random) {
  std::vector<std::int32_t> repeated;
  repeated.reserve(items.size() * static_cast<std::size_t>(times));
  for (std::int64_t i = 0; i < times; ++i) {
    repeated.insert(repeated.end(), items.begin(), items.end());
  }
  random.shuffle(repeated);
  out.insert(out.end(), repeated.begin(), repeated.end());
}

/// Appends [first, first + num), shuffled.
void append_shuffled_range(std::vector<std::int64_t>& out,
                           std::int64_t first,
                           std::int64_t num,
                           NumpyRandomState& random) {
  std::vector<std::int64_t> range(static_cast<std::size_t>(num));
  std::iota(range.begin(), range.end(), first);
  random.shuffle(range);
  out.insert(out.end(), range.begin(), range.end());
}

}  // namespace

GptDataset::GptDataset(IndexedDataset data, const GptDatasetConfig& config)
    : data_(std::move(data)), config_(config) {
  require(config.seq_length >= 1 && config.num_samples >= 0 && config.vocab_size >= 1,
          "a data set needs a sequence length, a number of samples and a vocabulary");
  require(config.num_samples < std::numeric_limits<std::int64_t>::max() / 4 / config.seq_length,
          "more tokens than 64 bits can count");
  require(config.sequences.first >= 0 && config.sequences.num >= 0 &&
              config.sequences.num <= data_.num_sequences() - config.sequences.first,
          "sequences beyond the data");
  if (data_.num_sequences() > std::numeric_limits<std::int32_t>::max()) {
    throw ParseError(idx_path(data_.prefix()).string(), "", "expected less than 2^31 sequences");
  }
  build_indexes(count_epochs());
  if (num_samples() == 0) {
    throw ParseError(idx_path(data_.prefix()).string(),
                     "",
                     fmt::format("expected more than {} tokens, one sample, in sequences [{}, {})",
                                 config.seq_length,
                                 config.sequences.first,
                                 config.sequences.first + config.sequences.num));
  }
}

std::int64_t GptDataset::num_tokens_per_epoch() const {
  std::int64_t num = 0;
  for (std::int64_t i = 0; i < config_.sequences.num; ++i) {
    num += data_.sequence_length(config_.sequences.first + i);
  }
  return num;
}

GptDataset::Epochs GptDataset::count_epochs() const {
  const std::int64_t per_epoch = num_tokens_per_epoch();
  const std::int64_t seq = config_.seq_length;
  if (per_epoch == 0) {
    throw ParseError(idx_path(data_.prefix()).string(),
                     "",
                     fmt::format("expected tokens in sequences [{}, {}), found none",
                                 config_.sequences.first,
                                 config_.sequences.first + config_.sequences.num));
  }
  const std::int64_t needed = config_.num_samples * seq + kExtraToken;
  Epochs epochs;
  if (config_.num_samples == 0 || needed <= per_epoch) {
    return epochs;
  }
  epochs.num = (needed + per_epoch - 1) / per_epoch;
  epochs.num_samples_before_final = ((epochs.num - 1) * per_epoch - kExtraToken) / seq;
  const std::int64_t num_from_final = config_.num_samples - epochs.num_samples_before_final;
  const std::int64_t num_per_epoch = (per_epoch - kExtraToken) / seq;
  epochs.separate_final = num_from_final < 4 * num_per_epoch / 5;
  return epochs;
}

void GptDataset::build_indexes(const Epochs& epochs) {
  std::vector<std::int32_t> sequences(static_cast<std::size_t>(config_.sequences.num));
  std::iota(sequences.begin(), sequences.end(), static_cast<std::int32_t>(config_.sequences.first));
  NumpyRandomState random(config_.seed);
  const std::int64_t num_last = epochs.separate_final ? 1 : 0;
  append_shuffled(document_index_, sequences, epochs.num - num_last, random);
  append_shuffled(document_index_, sequences, num_last, random);

  document_starts_.reserve(document_index_.size() + 1);
  document_starts_.push_back(0);
  for (const std::int32_t sequence : document_index_) {
    document_starts_.push_back(document_starts_.back() + data_.sequence_length(sequence));
  }

  const std::int64_t num = count_samples();
  const std::int64_t num_first = epochs.separate_final ? epochs.num_samples_before_final : num;
  append_shuffled_range(shuffle_index_, 0, num_first, random);
  append_shuffled_range(shuffle_index_, num_first, num - num_first, random);
}

std::int64_t GptDataset::count_samples() const {
  const std::int64_t num_labels = document_starts_.back() - kExtraToken;
  const std::int64_t partial = config_.drop_last_partial_sequence ? 0 : config_.seq_length - 1;
  return (num_labels + partial) / config_.seq_length;
}

GptDataset::Place GptDataset::place_of(std::int64_t position) const {
  const auto after = std::upper_bound(document_starts_.begin(), document_starts_.end(), position);
  const std::int64_t document = (after - document_starts_.begin()) - 1;
  return {.document = document,
          .offset = position - document_starts_[static_cast<std::size_t>(document)]};
}

GptDataset::Place GptDataset::sample_index(std::int64_t sample) const {
  require(sample >= 0 && sample <= num_samples(), "no such sample");
  const std::int64_t last = document_starts_.back() - kExtraToken;
  return place_of(std::min(sample * config_.seq_length, last));
}

void GptDataset::fill(std::int64_t sample,
                      std::span<std::int64_t> tokens,
                      std::span<std::int64_t> labels,
                      std::span<float> loss_mask) const {
  const auto size = static_cast<std::size_t>(config_.seq_length);
  require_sample(sample, tokens, labels, loss_mask);
  const std::int64_t first = shuffle_index_[static_cast<std::size_t>(sample)] * config_.seq_length;
  const std::int64_t num_labels =
      std::min(config_.seq_length, document_starts_.back() - kExtraToken - first);
  const auto num = static_cast<std::size_t>(num_labels);
  read_stream(first, tokens.first(1));
  read_stream(first + 1, labels.first(num));
  std::ranges::fill(labels.subspan(num), 0);
  std::copy(labels.begin(), labels.end() - 1, tokens.begin() + 1);
  for (std::size_t i = 0; i < size; ++i) {
    loss_mask[i] = i < num && tokens[i] != config_.eod_mask_loss ? 1.0F : 0.0F;
  }
}

void GptDataset::read_stream(std::int64_t position, std::span<std::int64_t> tokens) const {
  Place place = place_of(position);
  while (!tokens.empty()) {
    const std::int64_t sequence = document_index_[static_cast<std::size_t>(place.document)];
    const auto left = static_cast<std::size_t>(data_.sequence_length(sequence) - place.offset);
    const std::span<std::int64_t> piece = tokens.first(std::min(left, tokens.size()));
    data_.read(sequence, place.offset, piece);
    check_vocabulary(sequence, place.offset, piece);
    tokens = tokens.subspan(piece.size());
    place = {.document = place.document + 1, .offset = 0};
  }
}

void GptDataset::check_vocabulary(std::int64_t sequence,
                                  std::int64_t first,
                                  std::span<const std::int64_t> tokens) const {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= config_.vocab_size) {
      throw ParseError(
          bin_path(data_.prefix()).string(),
          fmt::format("sequence {}, token {}", sequence, first + static_cast<std::int64_t>(i)),
          fmt::format("expected an id of the vocabulary, 0 to {}, found {}",
                      config_.vocab_size - 1,
                      tokens[i]));
    }
  }
}

}  // namespace runflat::exec
