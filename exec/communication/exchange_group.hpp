#pragma once

#include "exec/communication/blocking_group.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace runflat::exec {

/// Collectives made of messages, for transports that only have these. Reductions go in the order of
/// the ranks: their bits are those of loopback ranks.
class ExchangeGroup : public BlockingGroup {
 public:
  SyncStatus all_reduce(
      std::byte* data, std::int64_t num, DataType type, ReduceOp op, Deadline deadline) override;
  SyncStatus reduce_scatter(std::byte* data,
                            std::span<const std::int64_t> counts,
                            DataType type,
                            ReduceOp op,
                            Deadline deadline) override;
  SyncStatus all_gather(std::byte* data,
                        std::span<const std::int64_t> counts,
                        DataType type,
                        Deadline deadline) override;
  SyncStatus broadcast(std::byte* data,
                       std::int64_t bytes,
                       std::int64_t root,
                       Deadline deadline) override;
  SyncStatus barrier(Deadline deadline) override;
};

}  // namespace runflat::exec
