#pragma once

#include "core/plan.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace runflat::planner {

/// What must hold of a Plan, whoever made it.
enum class PlanRule : std::uint8_t {
  ranks,      ///< ranks are on GPUs of the cluster, none on a failed GPU or in a spare domain
  domains,    ///< a TP group stays inside one NVLink domain
  shares,     ///< every replica has microbatches, power above 0, and no more layers than there are
  groups,     ///< the process groups of each kind hold every rank of theirs once
  units,      ///< every unit of every parameter has one owner in each TP group, or the copies that
              ///< replication makes; the two ends of a pipeline divide a tied embedding alike
  reshards,   ///< compute to sync and back moves units without losing or doubling one
  schedules,  ///< every replica's schedule can run, and all reduce in the same order
};

[[nodiscard]] std::string_view name_of(PlanRule rule);

struct Violation {
  PlanRule rule = PlanRule::ranks;
  std::string what;  ///< one sentence
};

/// All that is wrong with a plan, by rule; the first few of each. Empty for a plan that can run.
[[nodiscard]] std::vector<Violation> verify_plan(const Plan& plan);

}  // namespace runflat::planner
