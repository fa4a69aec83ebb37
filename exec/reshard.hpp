#pragma once

#include "core/id.hpp"
#include "core/model.hpp"
#include "core/shard_map.hpp"
#include "exec/communicator.hpp"
#include "kernels/reshard_pack.hpp"

#include <cstdint>
#include <functional>
#include <vector>

namespace runflat::exec {

/// What a tp rank stores of a parameter: a tensor of its units in ascending order along the units'
/// dim, base after base, so that a gated fc1 is [gate rows; up rows] as in Megatron. A rank beyond
/// the map's degree stores an empty tensor.
[[nodiscard]] ParamSpec local_param(const ParamSpec& param, const ShardMap& map, TpRank rank);

/// Copies boxes: kernels::reshard_pack on a stream that the communicator's operations follow and
/// precede, or kernels::reshard_pack_reference.
using CopyBoxes = std::function<void(const kernels::ReshardPackArgs&)>;

/// One rank's part in moving a parameter from one shard map to another inside its TP group: pack
/// what leaves, one all-to-all, unpack what arrives, and a copy of what stays. The wire holds the
/// transfers of core's Reshard by peer, each as its strided box without gaps.
class ParamReshard {
 public:
  /// The maps are over the parameter's units and not replicated; the group has as many ranks as the
  /// larger degree.
  ParamReshard(const ParamSpec& param, const ShardMap& from, const ShardMap& to, TpRank rank);

  [[nodiscard]] std::int64_t group_size() const {
    return static_cast<std::int64_t>(num_sent_to_.size());
  }
  /// Elements of the wire buffers that run() needs.
  [[nodiscard]] std::int64_t num_sent() const;
  [[nodiscard]] std::int64_t num_received() const;

  struct Memory {
    const void* from = nullptr;  ///< this rank's tensor under the first map
    void* to = nullptr;          ///< its tensor under the second; no overlap with `from`
    void* send = nullptr;        ///< num_sent() elements
    void* recv = nullptr;        ///< num_received() elements
    std::int64_t element_size = 0;
  };
  /// `to` is whole when the status is done. All ranks of the group call it.
  [[nodiscard]] SyncStatus run(const Memory& memory,
                               const CopyBoxes& copy_boxes,
                               Communicator& group,
                               Deadline deadline) const;

 private:
  std::vector<kernels::BoxCopy> pack_;
  std::vector<kernels::BoxCopy> keep_;
  std::vector<kernels::BoxCopy> unpack_;
  std::vector<std::int64_t> num_sent_to_;        // elements, by peer
  std::vector<std::int64_t> num_received_from_;  // elements, by peer
};

}  // namespace runflat::exec
