#pragma once

#include "sim/sim_time.hpp"

#include <cstdint>
#include <utility>
#include <vector>

namespace runflat::sim {

/// Goodput over equal parts of a duration, which differ by a millisecond at most.
class GoodputBuckets {
 public:
  /// At least a millisecond for each bucket.
  GoodputBuckets(SimTime duration, std::int64_t num_buckets);

  /// When the present bucket ends.
  [[nodiscard]] SimTime end() const { return end_; }
  /// The present bucket ends with `kept` milliseconds of work kept since the start.
  void close(double kept);
  /// Of all closed buckets. Work that is lost counts against the bucket in which that is known.
  [[nodiscard]] std::vector<double> take() && { return std::move(goodput_); }

 private:
  [[nodiscard]] SimTime end_of(std::int64_t bucket) const;

  SimTime duration_;
  std::int64_t num_buckets_;
  SimTime begin_{};
  SimTime end_;
  double kept_at_begin_ = 0.0;
  std::vector<double> goodput_;
};

}  // namespace runflat::sim
