#pragma once

#include "core/error.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace runflat::exec {

/// Training samples by number. A sample is a pure function of the source and its number: whoever
/// asks for it, in whatever order, and from whichever thread, gets the same.
class SampleSource {
 public:
  SampleSource() = default;
  SampleSource(const SampleSource&) = delete;
  SampleSource& operator=(const SampleSource&) = delete;
  virtual ~SampleSource() = default;

  [[nodiscard]] virtual std::int64_t num_samples() const = 0;
  [[nodiscard]] virtual std::int64_t seq_length() const = 0;

  /// Writes a sample of [0, num_samples()): seq_length() tokens, the label of each (the token that
  /// follows it), and the weight of each label's loss, 1 or 0. ParseError where the data cannot be
  /// trained on.
  virtual void fill(std::int64_t sample,
                    std::span<std::int64_t> tokens,
                    std::span<std::int64_t> labels,
                    std::span<float> loss_mask) const = 0;

 protected:
  /// What every fill() asks of its arguments.
  void require_sample(std::int64_t sample,
                      std::span<const std::int64_t> tokens,
                      std::span<const std::int64_t> labels,
                      std::span<const float> loss_mask) const {
    const auto size = static_cast<std::size_t>(seq_length());
    require(sample >= 0 && sample < num_samples(), "no such sample");
    require(tokens.size() == size && labels.size() == size && loss_mask.size() == size,
            "a sample has seq_length tokens");
  }
};

}  // namespace runflat::exec
