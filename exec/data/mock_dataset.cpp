#include "exec/data/mock_dataset.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cstddef>

namespace runflat::exec {
namespace {

/// The mixing function of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
/// generators", OOPSLA 2014).
std::uint64_t mix(std::uint64_t bits) {
  bits += 0x9e3779b97f4a7c15U;
  bits = (bits ^ (bits >> 30U)) * 0xbf58476d1ce4e5b9U;
  bits = (bits ^ (bits >> 27U)) * 0x94d049bb133111ebU;
  return bits ^ (bits >> 31U);
}

}  // namespace

MockDataset::MockDataset(const MockDatasetConfig& config) : config_(config) {
  require(config.seq_length >= 1 && config.num_samples >= 1 && config.vocab_size >= 1,
          "mock data needs a sequence length, a number of samples and a vocabulary");
}

void MockDataset::fill(std::int64_t sample,
                       std::span<std::int64_t> tokens,
                       std::span<std::int64_t> labels,
                       std::span<float> loss_mask) const {
  const auto size = static_cast<std::size_t>(config_.seq_length);
  require_sample(sample, tokens, labels, loss_mask);
  const std::uint64_t bits = mix(mix(config_.seed) + static_cast<std::uint64_t>(sample));
  const auto vocab = static_cast<std::uint64_t>(config_.vocab_size);
  const std::uint64_t step = 1 + mix(bits) % 7;
  std::uint64_t token = bits % vocab;
  for (std::size_t i = 0; i < size; ++i) {
    tokens[i] = static_cast<std::int64_t>(token);
    token = (token + step) % vocab;
    labels[i] = static_cast<std::int64_t>(token);
  }
  std::ranges::fill(loss_mask, 1.0F);
}

}  // namespace runflat::exec
