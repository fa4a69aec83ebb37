#pragma once

#include "core/id.hpp"
#include "core/layout.hpp"

#include <cstdint>
#include <string_view>
#include <vector>

namespace runflat {

/// The process groups of Megatron, with the names that its NCCL options use. The first twelve lie
/// in the grid of dense layers (tp, cp, dp, pp), the others in that of experts (etp, ep, edp, pp),
/// where ep_tp groups vary over etp and ep_dp groups over edp.
enum class GroupKind : std::uint8_t {
  dp_cp,
  intra_dp_cp,  ///< one distributed-optimizer instance: a contiguous slice of dp_cp
  dp,
  cp,
  mp,  ///< tp and pp
  tp,
  pp,
  embd,      ///< first and last stage
  pos_embd,  ///< first stage
  tp_dp_cp,
  tp_dp,
  tp_cp,
  ep,
  ep_tp,
  tp_ep_mp,  ///< etp and ep
  tp_ep_pp,
  ep_dp,
  intra_ep_dp,              ///< one distributed-optimizer instance of ep_dp
  inter_ep_dp,              ///< the same place of every instance of ep_dp
  intra_dist_opt_instance,  ///< all ranks of one distributed-optimizer instance
};

[[nodiscard]] std::string_view name_of(GroupKind kind);

struct ProcessGroup {
  GroupKind kind = GroupKind::dp_cp;
  std::vector<Rank> ranks;

  friend bool operator==(const ProcessGroup&, const ProcessGroup&) = default;
};

/// Every group of a job, in the order in which Megatron creates them: all ranks must create all
/// groups in this order. dp_cp is first, for SHARP.
///
/// A nonuniform layout has the groups of its nominal grid without the places that have no rank: the
/// dp group of tp rank t at (cp, pp) holds all replicas whose cell is larger than t, and so on for
/// every kind; groups that are left empty are not created. tp ranks count a cell's active slots, so
/// that sync ranks meet sync ranks wherever the failed slots are. Groups of one kind share no rank,
/// and together hold all ranks (embd and pos_embd: all of their stages).
///
/// The intra_ and inter_ kinds exist only with more than one distributed-optimizer instance, but
/// intra_dist_opt_instance always. InvalidArgument unless the number of instances divides dp*cp and
/// the expert data parallel size.
[[nodiscard]] std::vector<ProcessGroup> make_process_groups(
    const ParallelLayout& layout, std::int64_t num_distributed_optimizer_instances = 1);

/// The ranks of the groups of one kind, in creation order.
[[nodiscard]] std::vector<std::vector<Rank>> groups_of(const std::vector<ProcessGroup>& groups,
                                                       GroupKind kind);

}  // namespace runflat
