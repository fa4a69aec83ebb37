#pragma once

#include "core/cluster.hpp"
#include "core/error.hpp"
#include "core/plan.hpp"
#include "core/units.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <string_view>

namespace runflat {

/// Makes the next Plan when GPUs have failed or come back. The simulator's failures and a real dead
/// GPU ask the same.
using Replanner =
    std::function<Expected<Plan, Infeasible>(const Plan& current, const Health& health)>;

/// What a job does about TP groups that have lost GPUs and find no spare ones: the policies of the
/// planner that can be followed without a restart. Its names are theirs.
enum class InPlacePolicy : std::uint8_t {
  ntp,           ///< they go on with the GPUs that they have left (nonuniform TP)
  dp_drop,       ///< their replicas are left out
  spare_domain,  ///< the job cannot go on
};
inline constexpr std::array kInPlacePolicies = {
    InPlacePolicy::ntp, InPlacePolicy::dp_drop, InPlacePolicy::spare_domain};
[[nodiscard]] std::string_view to_string(InPlacePolicy policy);
/// The one that Plan::policy names; `ntp` where it is another policy of the planner.
[[nodiscard]] InPlacePolicy in_place_policy(const Plan& plan);

/// `whole`, the plan of the undamaged job, on the GPUs that are up. Damaged TP groups move to spare
/// domains of the plan as moved_to_spares() has it; all others stay where they are. What remains
/// damaged follows the policy of the plan: under `ntp` groups shrink, and a replica that has no GPU
/// left in some group, or would be too slow for a single microbatch, is left out; under `dp_drop`
/// replicas with damage are left out; under `spare_domain` the plan is Infeasible.
///
/// The global batch stays: replicas get microbatches in proportion to the TP degree of their
/// smallest group, whole rounds of the pipeline where it is interleaved. Of all such plans, the one
/// whose slowest replica ends first; of equals, the one with the largest smallest TP degree.
///
/// GPUs that come back undo what their loss did: a pure function of `whole` and `health`, but for
/// the spare GPUs that a group moves to, which are those that it has in `current`, where it can
/// stay on them. Infeasible where no replica is left.
[[nodiscard]] Expected<Plan, Infeasible> replan_in_place(const Plan& whole,
                                                         const Plan& current,
                                                         const Health& health);
/// The same of a job that runs as `whole` says.
[[nodiscard]] inline Expected<Plan, Infeasible> replan_in_place(const Plan& whole,
                                                                const Health& health) {
  return replan_in_place(whole, whole, health);
}

/// The time of a step of a plan in microbatches of a whole TP group: that of its slowest replica,
/// all of whose groups wait for the one that has fewest GPUs.
[[nodiscard]] double relative_step_time(const Plan& plan);

/// Whether GPUs that are back are worth the pause that it takes to go from `current` to `next`: the
/// steps that are left save more. `step_time` is that of a step of `current`.
[[nodiscard]] bool rejoin_pays(const Plan& current,
                               const Plan& next,
                               Seconds step_time,
                               std::int64_t steps_left,
                               Seconds pause);

}  // namespace runflat
