#pragma once

#include "core/reader.hpp"
#include "core/units.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace runflat {

enum class FaultKind : std::uint8_t {
  kill,       ///< the process ends
  stop,       ///< it makes no progress any more, and comes back when the others have gone on
  hang,       ///< the same for `seconds`
  slow,       ///< it loses `seconds`
  nan,        ///< its gradients become NaN before its first op of the step
  corrupt,    ///< the next messages that it receives arrive with all bits one, which is NaN
  drop_link,  ///< its connections to its peers break, and nobody is lost
};

/// Where in a step, or in the transition that follows another fault, it happens: before the
/// `index`-th op of the schedule, the rest of the reduction, the decision, the update or the
/// distribution of virtual stage `index`, after the step; when the workers have agreed, when they
/// are connected, when the state has moved, when parameters are distributed, when all is carried
/// out. Or while the `index`-th operation of its communicators since the step began is under way,
/// transitions included.
enum class FaultPlace : std::uint8_t {
  op,
  reduction,
  decision,
  update,
  distribute,
  end,
  agreed,
  connected,
  moved,
  distributed,
  carried_out,
  operation,
};
/// Of a transition, not of a step.
[[nodiscard]] constexpr bool is_in_transition(FaultPlace place) {
  return place >= FaultPlace::agreed && place <= FaultPlace::carried_out;
}

/// One fault on demand, which the executor makes happen and the simulator lives through: at the
/// first such place at or after that of its step, or at or after its time.
struct InjectedFault {
  FaultKind kind = FaultKind::kill;
  std::int64_t rank = 0;          ///< the process: GPUs keep their number whatever rank they play
  std::int64_t step = 1;          ///< from 1
  std::optional<Seconds> time{};  ///< since the first step of the job began, instead of `step`
  FaultPlace place = FaultPlace::op;
  std::int64_t index = 0;         ///< of a fault with a step
  double seconds = 0.0;           ///< of hang and slow
  std::int64_t repair_steps = 0;  ///< a process that ended comes back so many steps later; 0: never

  friend bool operator==(const InjectedFault&, const InjectedFault&) = default;
};

[[nodiscard]] std::string_view name_of(FaultKind kind);
[[nodiscard]] std::string_view name_of(FaultPlace place);
/// `kill rank=3 step=20 at=update index=1 repair_steps=5`: what parse_fault reads.
[[nodiscard]] std::string to_text(const InjectedFault& fault);

/// Reads `KIND rank=R step=S|time_s=T [at=PLACE] [index=N] [seconds=X] [repair_steps=N]`.
[[nodiscard]] InjectedFault parse_fault(std::string_view text);

/// Reads `schema = 1` and any number of
///   [[fault]]     kind, rank, step or time_s, and optionally at, index (with a step), seconds (of
///                 hang and slow) and repair_steps
///   [[random]]    num, seed, ranks (how many processes there are): that many random faults, and
///                 one of steps (in one of the first so many), time_s (at a time up to this one)
///                 and mtbf_s (so far apart in the mean, exponentially)
///
/// The tables `[failures]` of scenarios hold rates, out of which the simulator draws months of
/// faults; these are the faults themselves.
[[nodiscard]] std::vector<InjectedFault> read_faults(const Reader& in);

}  // namespace runflat
