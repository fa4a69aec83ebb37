#pragma once

#include "core/id.hpp"

#include <cstdint>
#include <vector>

namespace runflat::exec {

/// What a replica computes of every global batch.
struct BatchShare {
  std::int64_t num_microbatches = 0;
  std::int64_t micro_batch_size = 0;
};

/// Samples [first, first + num) of a SampleSource.
struct SampleRange {
  std::int64_t first = 0;
  std::int64_t num = 0;

  friend bool operator==(const SampleRange&, const SampleRange&) = default;
};

/// Deals global batches out to replicas. A batch is the next consecutive samples, replicas take
/// consecutive pieces of it by dp rank, and a piece is consecutive microbatches. So the samples of
/// a step depend on the source (with its seed) and on how many came before, never on the layout:
/// step t of batches of constant size begins at t * global_batch_size.
class BatchSampler {
 public:
  /// The shares by dp rank come to `global_batch_size`; a share may be empty.
  BatchSampler(std::int64_t global_batch_size, std::vector<BatchShare> shares);

  [[nodiscard]] std::int64_t global_batch_size() const { return first_.back(); }
  [[nodiscard]] std::int64_t num_microbatches(DpRank replica) const {
    return shares_.at(replica.index()).num_microbatches;
  }

  /// What a replica computes in a microbatch of the step before which `consumed_samples` were used.
  [[nodiscard]] SampleRange samples(std::int64_t consumed_samples,
                                    DpRank replica,
                                    std::int64_t microbatch) const;

 private:
  std::vector<BatchShare> shares_;
  std::vector<std::int64_t> first_;  // of each share in the batch; one more entry for its end
};

}  // namespace runflat::exec
