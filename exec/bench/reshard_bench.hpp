#pragma once

#include "core/model.hpp"
#include "core/units.hpp"
#include "exec/communication/communicator.hpp"
#include "exec/device/device.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace runflat::exec {

/// One direction of a bucket's way between compute and sync maps, measured.
struct ReshardTime {
  std::size_t bucket = 0;
  bool is_to_sync = true;  ///< fp32 gradients to the sync ranks; otherwise bf16 parameters back
  std::int64_t num = 0;    ///< elements of the bucket on all ranks together, without padding
  std::int64_t bytes = 0;  ///< through the busiest rank's link, in its busier direction
  Seconds time{};          ///< on the slowest rank
  std::int64_t wrong = 0;  ///< elements that did not arrive as they should, over all ranks
};

/// Moves the buckets of a model that computes at TP n, the ranks of `tp`, and synchronises at n -
/// 1, there and back. All ranks call it alike; PeerLost when one is gone.
[[nodiscard]] std::vector<ReshardTime> time_reshard(Device& device,
                                                    Communicator& tp,
                                                    const ModelSpec& model,
                                                    std::int64_t num_buckets);

}  // namespace runflat::exec
