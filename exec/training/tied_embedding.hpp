#pragma once

#include "core/plan.hpp"
#include "exec/communication/communicator.hpp"
#include "exec/device/device.hpp"
#include "exec/training/stage_state.hpp"

#include <cstdint>
#include <vector>

namespace runflat::exec {

/// Sums the gradients of the embedding and of its copy on the last stage, after each stage has
/// reduced them over its replicas. Whoever owns elements on one stage trades them with their owners
/// on the other, whatever the degrees of the two, so that both take the same update.
class TiedEmbedding {
 public:
  /// Nothing to do unless this rank's stage is one of the two and the weights are tied.
  TiedEmbedding(Device& device, const ParallelLayout& layout, Rank rank, StageState& state);

  /// After the reduction of all buckets. `world` has all ranks in their order.
  void sum(Communicator& world);

 private:
  struct Trade {
    std::int64_t peer = 0;    ///< rank
    std::int64_t offset = 0;  ///< in the bucket's sync area, elements
    std::int64_t num = 0;
    std::int64_t staging = 0;  ///< elements
  };

  Device& device_;
  StageState& state_;
  std::size_t bucket_ = 0;
  std::vector<Trade> trades_;
  Buffer staging_;
};

}  // namespace runflat::exec
