#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace runflat::sim {

class RandomStream;

/// Draws an index with a probability in proportion to its weight, by inversion: one uniform each,
/// and a larger uniform never gives a smaller index. Constant expected time by a guide table (Chen
/// and Asau, AIIE Transactions 6, 1974).
class WeightedChoice {
 public:
  /// Throws InvalidArgument unless the weights are finite, at least zero and not all zero.
  explicit WeightedChoice(const std::vector<double>& weights);

  [[nodiscard]] std::uint32_t draw(RandomStream& stream) const;

 private:
  std::vector<double> sums_;          // of the weights up to and including each
  std::vector<std::uint32_t> guide_;  // the first index whose sum exceeds i / n of the total
};

}  // namespace runflat::sim
