#include "sim/weighted_choice.hpp"

#include "core/error.hpp"
#include "sim/random.hpp"

#include <algorithm>
#include <cmath>

namespace runflat::sim {

WeightedChoice::WeightedChoice(const std::vector<double>& weights) {
  double sum = 0.0;
  sums_.reserve(weights.size());
  for (const double weight : weights) {
    require(std::isfinite(weight) && weight >= 0.0, "a weight must be at least zero");
    sum += weight;
    sums_.push_back(sum);
  }
  require(sum > 0.0, "a choice needs a positive weight");
  guide_.reserve(sums_.size());
  std::size_t index = 0;
  for (std::size_t i = 0; i < sums_.size(); ++i) {
    const double bound = sum * (static_cast<double>(i) / static_cast<double>(sums_.size()));
    while (index + 1 < sums_.size() && sums_[index] <= bound) {
      ++index;
    }
    guide_.push_back(static_cast<std::uint32_t>(index));
  }
}

std::uint32_t WeightedChoice::draw(RandomStream& stream) const {
  const double u = stream.uniform();
  const auto cell = static_cast<std::size_t>(u * static_cast<double>(sums_.size()));
  std::size_t index = guide_[std::min(cell, sums_.size() - 1)];
  while (index + 1 < sums_.size() && sums_[index] <= u * sums_.back()) {
    ++index;
  }
  return static_cast<std::uint32_t>(index);
}

}  // namespace runflat::sim
