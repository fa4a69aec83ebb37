#pragma once

#include "exec/training/progress.hpp"

#include <cstdint>
#include <functional>

namespace runflat::exec {

/// The commit protocol: a step happens on all ranks or on none.
///
/// A rank enters the sum over the whole job that ends its gradients (Optimizer::sum_up) only when
/// all its communicators are whole, that is, when its gradients are reduced. This sum is the
/// decision. Whoever has its result knows that every rank had entered it, and so:
///  * If any survivor has the result of step t, all survivors hold what step t needs: each has
///    either taken its update already, or has its reduced gradients and its state of step t - 1.
///    The step is completed with that survivor's numbers, and is the same to the bit.
///  * If no survivor has it, nobody has touched any state, and the step is redone from step t - 1.
/// No rank can be two decisions ahead of another, so that the last decided step is the largest that
/// any survivor reports, and the others lack that one at most.
///
/// An update is local and cannot be torn by others. What a failure may tear is the distribution of
/// the updated parameters, which are copies: they are made again from the masters by their owners
/// (Trainer::distribute_params).
///
/// A rank whose communicators have failed aborts them all, the world first, so that nobody waits
/// for it and nobody takes what it sends for a decision.
enum class StepPhase : std::uint8_t {
  before_decision,
  decided,      ///< has the sums, has not updated
  updated,      ///< owns the state after the step; others' parameters are still to come
  distributed,  ///< the step is over
};

/// The sums of a step over the whole job, the same on all ranks to the bit.
struct StepDecision {
  std::int64_t step = 0;  ///< from 1; 0: none yet
  double squared_sum = 0.0;
  double tokens = 0.0;
  double loss = 0.0;

  friend bool operator==(const StepDecision&, const StepDecision&) = default;
};

/// What ranks want after a step: the decision tells all of them what any of them wants.
struct StepWishes {
  bool meets = false;  ///< to meet the others, as somebody waits to join
  bool stops = false;  ///< the job to end

  friend bool operator==(const StepWishes&, const StepWishes&) = default;
};

/// Points within a step, for whoever watches a rank or disturbs it.
enum class StepMoment : std::uint8_t {
  op,          ///< before the index-th op of the schedule
  reduction,   ///< before the rest of the reduction of gradients
  decision,    ///< before the decision
  update,      ///< before the update of virtual stage `index`
  distribute,  ///< before the distribution of virtual stage `index`
  end,         ///< the step is over
};
using StepWatcher = std::function<void(StepMoment moment, std::int64_t index)>;

}  // namespace runflat::exec
