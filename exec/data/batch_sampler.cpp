#include "exec/data/batch_sampler.hpp"

#include "core/error.hpp"

#include <fmt/format.h>
#include <utility>

namespace runflat::exec {

BatchSampler::BatchSampler(std::int64_t global_batch_size, std::vector<BatchShare> shares)
    : shares_(std::move(shares)), first_{0} {
  for (const BatchShare& share : shares_) {
    require(share.num_microbatches >= 0 && share.micro_batch_size >= 0, "a share is not negative");
    first_.push_back(first_.back() + share.num_microbatches * share.micro_batch_size);
  }
  require(first_.back() == global_batch_size && global_batch_size > 0,
          fmt::format("the replicas' shares come to {}, not to the global batch of {}",
                      first_.back(),
                      global_batch_size));
}

SampleRange BatchSampler::samples(std::int64_t consumed_samples,
                                  DpRank replica,
                                  std::int64_t microbatch) const {
  const BatchShare& share = shares_.at(replica.index());
  require(microbatch >= 0 && microbatch < share.num_microbatches, "no such microbatch");
  return {.first = consumed_samples + first_[replica.index()] + microbatch * share.micro_batch_size,
          .num = share.micro_batch_size};
}

}  // namespace runflat::exec
