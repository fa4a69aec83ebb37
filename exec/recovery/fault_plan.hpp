#pragma once

#include "core/reader.hpp"
#include "core/value.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace runflat::exec {

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

/// One fault on demand, at the first such place at or after that of its step.
struct Fault {
  FaultKind kind = FaultKind::kill;
  std::int64_t rank = 0;  ///< the process: GPUs keep their number whatever rank they play
  std::int64_t step = 1;  ///< from 1
  FaultPlace place = FaultPlace::op;
  std::int64_t index = 0;
  double seconds = 0.0;           ///< of hang and slow
  std::int64_t repair_steps = 0;  ///< a process that ended comes back so many steps later; 0: never

  friend bool operator==(const Fault&, const Fault&) = default;
};

[[nodiscard]] std::string_view name_of(FaultKind kind);
[[nodiscard]] std::string_view name_of(FaultPlace place);
/// `kill rank=3 step=20 at=update index=1 repair_steps=5`: what parse_fault reads.
[[nodiscard]] std::string to_text(const Fault& fault);

/// Reads `KIND rank=R step=S [at=PLACE] [index=N] [seconds=X] [repair_steps=N]`.
[[nodiscard]] Fault parse_fault(std::string_view text);

/// Reads `schema = 1` and any number of `[[fault]]` with kind, rank, step, at, index, seconds and
/// repair_steps, and of `[[random]]` with num, seed, ranks (how many processes there are) and steps
/// (how many the run has): that many random faults.
///
/// The simulator's fault files (`[failures]`) hold rates, out of which it draws months of faults;
/// these hold the faults themselves.
[[nodiscard]] std::vector<Fault> read_faults(const Reader& in);

/// What random faults are drawn from.
struct FaultRange {
  std::int64_t num_ranks = 1;
  std::int64_t num_steps = 1;
  std::int64_t num_ops = 16;    ///< about as many as a rank's schedule has
  std::int64_t num_stages = 1;  ///< virtual ones of a rank
  double hang_seconds = 1.0;    ///< longer than whatever notices it
};

/// The `number`-th fault of a seed: the same on every platform. One in eight strikes during a
/// transition; half of the processes that end come back.
[[nodiscard]] Fault random_fault(std::uint64_t seed, std::int64_t number, const FaultRange& range);

}  // namespace runflat::exec
