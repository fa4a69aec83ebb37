#pragma once

#include "core/error.hpp"
#include "core/id.hpp"

#include <cstdint>
#include <vector>

namespace runflat {

/// The half-open range of units `[first, first + num)`.
struct UnitRange {
  std::int64_t first = 0;
  std::int64_t num = 0;

  friend bool operator==(const UnitRange&, const UnitRange&) = default;
};

/// Which tp rank owns which units of a parameter. Every unit has one owner, except in a replicated
/// map (fewer units than ranks), where consecutive ranks share one unit. A rank stores its units in
/// ascending order.
class ShardMap {
 public:
  /// Rank r owns a contiguous range; the first `num_units % degree` ranks own one unit more.
  [[nodiscard]] static ShardMap contiguous(std::int64_t num_units, std::int64_t degree);

  /// Any ranges; InvalidArgument unless each unit of [0, num_units) is owned once.
  [[nodiscard]] static ShardMap from_ranges(std::vector<std::vector<UnitRange>> ranges_of_rank);

  /// Rank r holds unit r / (degree / num_units). Infeasible unless num_units divides degree.
  [[nodiscard]] static Expected<ShardMap, Infeasible> replicated(std::int64_t num_units,
                                                                 std::int64_t degree);

  [[nodiscard]] std::int64_t num_units() const { return num_units_; }
  [[nodiscard]] std::int64_t degree() const {
    return static_cast<std::int64_t>(ranges_of_rank_.size());
  }
  /// Ranks that hold the same unit: 1 unless replicated.
  [[nodiscard]] std::int64_t num_copies() const { return num_copies_; }
  [[nodiscard]] const std::vector<UnitRange>& ranges_of(TpRank rank) const {
    return ranges_of_rank_.at(rank.index());
  }
  [[nodiscard]] std::int64_t num_units_of(TpRank rank) const;
  /// The largest share of any rank: what sets the pace of the group.
  [[nodiscard]] std::int64_t most_units() const;
  /// The first owner of a unit.
  [[nodiscard]] TpRank owner_of(std::int64_t unit) const;

  friend bool operator==(const ShardMap&, const ShardMap&) = default;

 private:
  explicit ShardMap(std::vector<std::vector<UnitRange>> ranges_of_rank,
                    std::int64_t num_units,
                    std::int64_t num_copies)
      : ranges_of_rank_(std::move(ranges_of_rank)),
        num_units_(num_units),
        num_copies_(num_copies) {}

  std::vector<std::vector<UnitRange>> ranges_of_rank_;
  std::int64_t num_units_ = 0;
  std::int64_t num_copies_ = 1;
};

/// Where healthy replicas compute and where everybody synchronises (reference: the balanced mapping
/// for nonuniform TP). For a replica of degree `degree` that synchronises at `sync_degree`:
/// sync rank i's synchronised units are `sync.ranges_of(i)`; it computes the first of them itself
/// and leaves the rest to the extra ranks `[sync_degree, degree)`.
struct ShardMaps {
  ShardMap compute;
  ShardMap sync;
};

/// Total for num_units >= degree >= sync_degree >= 1: both maps are balanced within one unit, a
/// sync rank's computed units are a prefix of its synchronised ones, and the blocks of one sync
/// rank go to ascending extra ranks in ascending order, so that sync rank i of a reduced replica
/// holds the same units in the same order without a permutation. With fewer units than ranks,
/// `may_replicate` gives replicated maps when num_units divides both degrees; otherwise Infeasible
/// with the reason.
[[nodiscard]] Expected<ShardMaps, Infeasible> make_shard_maps(std::int64_t num_units,
                                                              std::int64_t degree,
                                                              std::int64_t sync_degree,
                                                              bool may_replicate = false);

/// `num_units` units go from one rank to another, contiguous in both ranks' unit order.
struct Transfer {
  TpRank from;
  TpRank to;
  UnitRange units;

  friend bool operator==(const Transfer&, const Transfer&) = default;
};

/// The moves that turn one ShardMap into another inside a TP group, as an all-to-all with split
/// sizes in units. What stays on its rank is not a transfer.
class Reshard {
 public:
  /// Both maps must have the same units and one owner per unit; the degrees may differ.
  [[nodiscard]] static Reshard between(const ShardMap& from, const ShardMap& to);

  /// Sorted by (from, to, first unit).
  [[nodiscard]] const std::vector<Transfer>& transfers() const { return transfers_; }
  /// Ranks of the group that runs it: the larger of the two degrees.
  [[nodiscard]] std::int64_t group_size() const { return group_size_; }
  /// Units that `rank` sends to every rank of the group, indexed by receiver.
  [[nodiscard]] std::vector<std::int64_t> send_splits(TpRank rank) const;
  [[nodiscard]] std::vector<std::int64_t> recv_splits(TpRank rank) const;
  [[nodiscard]] std::int64_t num_units_moved() const;
  /// The largest number of units that any one rank sends or receives: what sets the pace.
  [[nodiscard]] std::int64_t most_sent() const;
  [[nodiscard]] std::int64_t most_received() const;
  [[nodiscard]] Reshard inverse() const;

  friend bool operator==(const Reshard&, const Reshard&) = default;

 private:
  Reshard(std::vector<Transfer> transfers, std::int64_t group_size);

  std::vector<Transfer> transfers_;
  std::int64_t group_size_ = 0;
};

}  // namespace runflat
