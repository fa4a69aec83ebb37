#pragma once

#include "core/communicator_change.hpp"
#include "core/error.hpp"
#include "core/id.hpp"
#include "core/plan.hpp"
#include "core/reader.hpp"
#include "core/units.hpp"
#include "core/value.hpp"

#include <cstdint>
#include <vector>

namespace runflat {

/// State that one GPU sends to another: the sum of its unit_moves.
struct StateMove {
  GpuId from;
  GpuId to;
  Bytes bytes;

  friend bool operator==(const StateMove&, const StateMove&) = default;
};

/// How to get from one Plan to the next: what becomes of the communicators, and which bytes move
/// from whom to whom. Groups that are not named keep their communicator, GPUs their state.
struct Transition {
  std::vector<CommunicatorChange> communicators;
  std::vector<StateMove> moves;  ///< by (from, to), each pair once

  [[nodiscard]] bool is_empty() const { return communicators.empty() && moves.empty(); }
  [[nodiscard]] Bytes total_bytes() const;
  /// The most that any one GPU sends or receives over NVLink (within its domain), and over the
  /// network: what sets the pace.
  [[nodiscard]] Bytes most_within_domains(const ClusterSpec& cluster) const;
  [[nodiscard]] Bytes most_between_domains(const ClusterSpec& cluster) const;

  friend bool operator==(const Transition&, const Transition&) = default;
};

/// Moves are sized as for zero_stage 0, 14 bytes a parameter: the weight, its fp32 master and both
/// moments. With the distributed optimizer master and moments are not on every replica: their
/// slices come from their owner or its buddy, once for all replicas instead of once for each, so
/// that these sizes are an upper bound then. Infeasible as unit_moves.
[[nodiscard]] Expected<Transition, Infeasible> make_transition(const Plan& old, const Plan& next);

/// Version of the JSON form.
inline constexpr std::int64_t kTransitionSchema = 1;

/// `read_transition(to_value(transition))` is `transition`. Unknown keys, another schema, and what
/// no transition can be (positions that are no order, groups that the action does not have, moves
/// out of order or onto oneself) are ParseErrors.
[[nodiscard]] Value to_value(const Transition& transition);
[[nodiscard]] Transition read_transition(const Reader& in);

}  // namespace runflat
