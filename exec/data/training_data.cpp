#include "exec/data/training_data.hpp"

#include "core/error.hpp"
#include "exec/data/blended_dataset.hpp"
#include "exec/data/gpt_dataset.hpp"
#include "exec/data/indexed_dataset.hpp"
#include "exec/data/mock_dataset.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <limits>
#include <utility>

namespace runflat::exec {
namespace {

std::vector<std::string> read_prefixes(const Reader& in) {
  if (in.value().get_if<std::string>() != nullptr) {
    return {in.text()};
  }
  std::vector<std::string> prefixes;
  for (const Reader& item : in.items()) {
    prefixes.push_back(item.text());
  }
  if (prefixes.empty()) {
    in.reject("names no files");
  }
  return prefixes;
}

std::vector<double> read_weights(const std::optional<Reader>& in, std::size_t num_prefixes) {
  if (!in) {
    return std::vector<double>(num_prefixes, 1.0);
  }
  std::vector<double> weights;
  for (const Reader& item : in->items()) {
    weights.push_back(item.positive_number());
  }
  if (weights.size() != num_prefixes) {
    in->reject(fmt::format("{} weights for {} prefixes", weights.size(), num_prefixes));
  }
  return weights;
}

std::optional<std::int64_t> read_eod(ObjectReader& members) {
  const std::optional<Reader> token = members.find("eod_token_id");
  const bool is_masked = read_or(members, "eod_mask_loss", false, &Reader::boolean);
  if (is_masked != token.has_value()) {
    members.place().reject("eod_mask_loss = true goes with eod_token_id");
  }
  return token ? std::optional(token->integer(0, std::numeric_limits<std::int32_t>::max()))
               : std::nullopt;
}

/// Every token is checked when it is used; a vocabulary that is smaller than the tokenizer's shows
/// here, before the first step.
void check_first_tokens(const IndexedDataset& data, std::int64_t vocab_size) {
  std::int64_t left = 1 << 24;
  std::vector<std::int64_t> tokens;
  for (std::int64_t sequence = 0; sequence < data.num_sequences() && left > 0; ++sequence) {
    const std::int64_t num = std::min<std::int64_t>(data.sequence_length(sequence), left);
    left -= num;
    tokens.resize(static_cast<std::size_t>(num));
    data.read(sequence, 0, tokens);
    const auto wrong = std::find_if(tokens.begin(), tokens.end(), [&](std::int64_t token) {
      return token < 0 || token >= vocab_size;
    });
    if (wrong != tokens.end()) {
      throw ParseError(
          data.prefix().string(),
          fmt::format("sequence {}, token {}", sequence, wrong - tokens.begin()),
          fmt::format("{} is outside the model's vocabulary of {}", *wrong, vocab_size));
    }
  }
}

std::unique_ptr<SampleSource> read_samples(const DataConfig& config,
                                           std::size_t prefix,
                                           GptDatasetConfig samples,
                                           Split split) {
  IndexedDataset data(config.prefixes[prefix]);
  check_first_tokens(data, samples.vocab_size);
  samples.sequences = split_range(config.split, split, data.num_sequences());
  if (samples.sequences.num == 0) {
    constexpr std::array kNames = {"train", "valid", "test"};
    throw ParseError(config.prefixes[prefix],
                     "",
                     fmt::format("the split gives none of the {} sequences to {}",
                                 data.num_sequences(),
                                 kNames[static_cast<std::size_t>(split)]));
  }
  return std::make_unique<GptDataset>(std::move(data), samples);
}

}  // namespace

DataConfig read_data(const Reader& in) {
  ObjectReader members = in.object();
  DataConfig config;
  config.is_mock = read_or(members, "mock_data", false, &Reader::boolean);
  const std::optional<Reader> path = members.find("data_path");
  const std::optional<Reader> weights = members.find("blend_weights");
  const std::optional<Reader> split = members.find("split");
  config.eod_mask_loss = read_eod(members);
  members.finish();
  if (config.is_mock == path.has_value()) {
    in.reject("needs either data_path or mock_data = true");
  }
  if (config.is_mock && (weights || split || config.eod_mask_loss)) {
    in.reject("mock data has no blend_weights, split or eod_mask_loss");
  }
  if (path) {
    config.prefixes = read_prefixes(*path);
    config.blend_weights = read_weights(weights, config.prefixes.size());
  }
  if (split) {
    config.split = read_split_weights(*split);
  }
  return config;
}

std::unique_ptr<SampleSource> make_samples(const DataConfig& config,
                                           const ModelSpec& model,
                                           Split split,
                                           std::int64_t num_samples,
                                           std::uint32_t seed) {
  if (config.is_mock) {
    // Another seed, other samples: the splits have nothing in common.
    return std::make_unique<MockDataset>(
        MockDatasetConfig{.seq_length = model.seq_length,
                          .num_samples = num_samples,
                          .vocab_size = model.padded_vocab_size,
                          .seed = seed * std::uint64_t{3} + static_cast<std::uint64_t>(split)});
  }
  GptDatasetConfig samples{.seq_length = model.seq_length,
                           .num_samples = num_samples,
                           .seed = seed,
                           .vocab_size = model.padded_vocab_size,
                           .eod_mask_loss = config.eod_mask_loss};
  if (config.prefixes.size() == 1) {
    return read_samples(config, 0, samples, split);
  }
  const std::vector<std::int64_t> requests = blend_requests(config.blend_weights, num_samples);
  std::vector<std::unique_ptr<SampleSource>> sources;
  for (std::size_t i = 0; i < config.prefixes.size(); ++i) {
    samples.num_samples = requests[i];
    sources.push_back(read_samples(config, i, samples, split));
  }
  return std::make_unique<BlendedDataset>(std::move(sources), config.blend_weights, num_samples);
}

}  // namespace runflat::exec
