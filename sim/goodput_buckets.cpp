#include "sim/goodput_buckets.hpp"

#include "core/error.hpp"

namespace runflat::sim {

GoodputBuckets::GoodputBuckets(SimTime duration, std::int64_t num_buckets)
    : duration_(duration), num_buckets_(num_buckets) {
  require(num_buckets >= 1 && duration.count() >= num_buckets,
          "a simulation takes at least a millisecond for each bucket");
  end_ = end_of(0);
}

SimTime GoodputBuckets::end_of(std::int64_t bucket) const {
  const std::int64_t number = bucket + 1;
  return duration_ / num_buckets_ * number +
         duration_ % SimTime{num_buckets_} * number / num_buckets_;
}

void GoodputBuckets::close(double kept) {
  const SimTime span = end_ - begin_;
  goodput_.push_back((kept - kept_at_begin_) / static_cast<double>(span.count()));
  kept_at_begin_ = kept;
  begin_ = end_;
  end_ = end_of(static_cast<std::int64_t>(goodput_.size()));
}

}  // namespace runflat::sim
