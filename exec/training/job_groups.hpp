#pragma once

#include "core/id.hpp"
#include "core/layout.hpp"
#include "exec/communication/transport.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace runflat::exec {

enum class JobGroup : std::uint8_t { tp, dp, mp, world };

/// The communicators of one rank under one plan. Processes are numbered as GPUs. Groups of one rank
/// have none.
struct JobGroups {
  std::unique_ptr<Communicator> world;  ///< all ranks, in their order
  std::unique_ptr<Communicator> tp;     ///< by tp rank
  /// Those that synchronise the same share of the same parameters: replicas, times CP.
  std::unique_ptr<Communicator> dp;
  /// All stages of the replica, stage by stage and by tp rank; none where there is one stage.
  std::unique_ptr<Communicator> mp;

  /// The first failure of any of them.
  [[nodiscard]] SyncStatus status() const;
  /// Which of them has failed, the innermost first.
  [[nodiscard]] std::optional<JobGroup> lost() const;
  void abort();
  /// Whether operations of any of them are under way; from any thread.
  [[nodiscard]] bool is_busy() const;
};

/// Makes the groups of a rank, in one order for all ranks. `generation` tells the plans of a job
/// apart. A null member where peers did not come before the deadline.
[[nodiscard]] JobGroups make_job_groups(const ParallelLayout& layout,
                                        Rank rank,
                                        Transport& transport,
                                        std::int64_t generation,
                                        std::chrono::milliseconds timeout);

/// The ranks of the dp group of a rank: those at its tp rank of every replica, by replica.
[[nodiscard]] std::vector<Rank> dp_peers(const ParallelLayout& layout, Rank rank);

/// A rank's place in its mp group: stages one after another, each by tp rank.
[[nodiscard]] std::int64_t mp_index(const ParallelLayout& layout, const Coordinate& coordinate);

}  // namespace runflat::exec
