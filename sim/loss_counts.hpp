#pragma once

#include "sim/operation.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace runflat::sim {

/// How many TP sites have lost how many GPUs: a census by counts, kept up to date site by site.
/// Equal counts mean equal censuses, so they are the key by which answers to a census are kept.
class LossCounts {
 public:
  /// All of `num_sites` sites of `tp` GPUs are healthy.
  LossCounts(std::int32_t tp, std::int64_t num_sites);

  /// One site has now lost `to` GPUs instead of `from`.
  void move(std::int32_t from, std::int32_t to) {
    --num_sites_[static_cast<std::size_t>(from)];
    ++num_sites_[static_cast<std::size_t>(to)];
    hash_ += weight(to) - weight(from);
  }

  [[nodiscard]] std::int64_t num_sites(std::int32_t lost) const {
    return num_sites_[static_cast<std::size_t>(lost)];
  }
  [[nodiscard]] std::int64_t num_damaged() const;
  [[nodiscard]] SiteCensus census() const;
  /// The same for equal counts of the same number of sites.
  [[nodiscard]] std::uint64_t hash() const { return hash_; }

  friend bool operator==(const LossCounts&, const LossCounts&) = default;

 private:
  /// Odd multiples of 2^64 / golden ratio: sums of a few of them rarely agree.
  [[nodiscard]] static std::uint64_t weight(std::int32_t lost) {
    const auto odd = 2 * static_cast<std::uint64_t>(lost) + 1;
    return odd * odd * 0x9e3779b97f4a7c15U;
  }

  std::uint64_t hash_ = 0;
  std::vector<std::int64_t> num_sites_;  // by GPUs lost, 0 to tp
};

}  // namespace runflat::sim
