#pragma once

#include "core/layout.hpp"
#include "core/process_groups.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace runflat {

enum class GroupAction : std::uint8_t {
  keep,      ///< same GPUs; ranks stay as they are in the communicator
  shrink,    ///< only members were lost that now have no group of this kind
  recreate,  ///< other members: a new communicator takes the place of an old one
  create,
  drop,
};

[[nodiscard]] std::string_view name_of(GroupAction action);

/// What becomes of the communicator of one process group.
struct CommunicatorChange {
  GroupKind kind = GroupKind::dp_cp;
  GroupAction action = GroupAction::keep;
  /// Indexes into make_process_groups of the old and of the next layout; nothing where there is no
  /// such group (create, drop).
  std::optional<std::int64_t> old_group;
  std::optional<std::int64_t> next_group;
  /// keep and shrink: by position in the old group, the position in the next one, -1 for members
  /// that are left out. NCCL's shrink moves its ranks up in their order to close the gaps; the
  /// position in the group is what the plan means, whatever rank NCCL gives.
  std::vector<std::int64_t> next_position;

  friend bool operator==(const CommunicatorChange&, const CommunicatorChange&) = default;
};

/// How the communicators of one layout become those of another, members compared as GPUs. Every
/// group of both layouts appears at most once, and those that do not appear keep their members in
/// their order. Changes of next groups come in creation order, then drops in creation order.
[[nodiscard]] std::vector<CommunicatorChange> communicator_changes(
    const ParallelLayout& old,
    const ParallelLayout& next,
    std::int64_t num_distributed_optimizer_instances = 1);

}  // namespace runflat
