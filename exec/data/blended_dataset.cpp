#include "exec/data/blended_dataset.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fmt/format.h>
#include <limits>
#include <numeric>
#include <utility>

namespace runflat::exec {
namespace {

std::vector<double> normalized(std::span<const double> weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<double> shares;
  for (const double weight : weights) {
    require(weight > 0.0 && std::isfinite(sum), "weights of a blend are above 0");
    shares.push_back(weight / sum);
  }
  return shares;
}

/// The source that is furthest behind its share after `num_drawn` samples.
std::size_t next_source(std::span<const double> shares,
                        std::span<const std::int64_t> drawn_of,
                        std::int64_t num_drawn) {
  const auto target = static_cast<double>(std::max<std::int64_t>(num_drawn, 1));
  std::size_t furthest = 0;
  double most_behind = std::numeric_limits<double>::lowest();
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const double behind = shares[i] * target - static_cast<double>(drawn_of[i]);
    if (behind > most_behind) {
      most_behind = behind;
      furthest = i;
    }
  }
  return furthest;
}

}  // namespace

std::vector<std::int64_t> blend_requests(std::span<const double> weights,
                                         std::int64_t num_samples) {
  constexpr double kSurplus = 1.005;
  std::vector<std::int64_t> requests;
  for (const double share : normalized(weights)) {
    const double samples = std::ceil(static_cast<double>(num_samples) * share);
    requests.push_back(static_cast<std::int64_t>(std::ceil(samples * kSurplus)));
  }
  return requests;
}

BlendedDataset::BlendedDataset(std::vector<std::unique_ptr<SampleSource>> sources,
                               std::span<const double> weights,
                               std::int64_t num_samples)
    : sources_(std::move(sources)) {
  require(!sources_.empty() && sources_.size() == weights.size() && num_samples >= 0,
          "a blend has a weight for every source, and a number of samples");
  require(std::in_range<std::int16_t>(sources_.size()), "a blend has at most 32,767 sources");
  for (const auto& source : sources_) {
    require(source->seq_length() == seq_length(), "sources of a blend have one sequence length");
  }
  // Twice, as Megatron does: the last bit may decide who is furthest behind.
  const std::vector<double> shares = normalized(normalized(weights));
  std::vector<std::int64_t> drawn_of(sources_.size(), 0);
  source_index_.reserve(static_cast<std::size_t>(num_samples));
  source_sample_index_.reserve(static_cast<std::size_t>(num_samples));
  for (std::int64_t i = 0; i < num_samples; ++i) {
    const std::size_t source = next_source(shares, drawn_of, i);
    require(
        drawn_of[source] < sources_[source]->num_samples(),
        fmt::format(
            "source {} of the blend has only {} samples", source, sources_[source]->num_samples()));
    source_index_.push_back(static_cast<std::int16_t>(source));
    source_sample_index_.push_back(drawn_of[source]++);
  }
}

void BlendedDataset::fill(std::int64_t sample,
                          std::span<std::int64_t> tokens,
                          std::span<std::int64_t> labels,
                          std::span<float> loss_mask) const {
  require(sample >= 0 && sample < num_samples(), "no such sample");
  const auto i = static_cast<std::size_t>(sample);
  sources_[static_cast<std::size_t>(source_index_[i])]->fill(
      source_sample_index_[i], tokens, labels, loss_mask);
}

}  // namespace runflat::exec
