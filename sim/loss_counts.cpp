#include "sim/loss_counts.hpp"

#include <numeric>

namespace runflat::sim {

LossCounts::LossCounts(std::int32_t tp, std::int64_t num_sites)
    : num_sites_(static_cast<std::size_t>(tp) + 1, 0) {
  num_sites_.front() = num_sites;
}

std::int64_t LossCounts::num_damaged() const {
  return std::accumulate(num_sites_.begin() + 1, num_sites_.end(), std::int64_t{0});
}

SiteCensus LossCounts::census() const {
  SiteCensus census;
  census.num_healthy = num_sites_.front();
  census.num_lost.reserve(static_cast<std::size_t>(num_damaged()));
  for (std::size_t lost = num_sites_.size(); lost-- > 1;) {
    census.num_lost.insert(census.num_lost.end(),
                           static_cast<std::size_t>(num_sites_[lost]),
                           static_cast<std::int32_t>(lost));
  }
  return census;
}

}  // namespace runflat::sim
