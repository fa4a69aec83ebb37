#pragma once

#include "core/plan.hpp"
#include "core/reader.hpp"
#include "core/value.hpp"
#include "exec/training/commit.hpp"

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace runflat::exec {

/// A process of a job, numbered as its GPU, in one of its lives.
struct Member {
  std::int64_t process = 0;
  std::int64_t life = 0;

  friend auto operator<=>(const Member&, const Member&) = default;
};

/// The processes of a job's GPUs (gpus_of), in their order; those of ranks, by rank; of members.
[[nodiscard]] std::vector<std::int64_t> processes_of(const Plan& plan);
[[nodiscard]] std::vector<std::int64_t> processes_of(const ParallelLayout& layout);
[[nodiscard]] std::vector<std::int64_t> processes_of(const std::vector<Member>& members);

/// What a process says of itself when it meets the others.
struct Standing {
  Member member;
  /// The agreement whose plan it trains under, or is idle under; -1: none yet.
  std::int64_t generation = -1;
  /// An agreement that it has carried out without knowing whether all others have; -1: none.
  std::int64_t next_generation = -1;
  Progress progress;       ///< under `generation`
  Progress next_progress;  ///< under `next_generation`
  StepDecision decision;   ///< the last that it has
  double seconds = 0.0;    ///< since it noticed that it has to meet the others
  double waited = 0.0;     ///< seconds, for others to join a job that cannot go on without them
  std::string problem;     ///< why the job cannot go on, if it cannot
  bool is_over = false;    ///< it has done all that the job has to do, or had until it was stopped

  friend bool operator==(const Standing&, const Standing&) = default;
};

/// How a job goes on: the rungs of the recovery ladder, and its ends.
enum class Rung : std::uint8_t {
  in_place,    ///< new communicators, state from peers
  checkpoint,  ///< state from the last checkpoint, or the beginning of the job
  wait,        ///< no plan is possible: state is kept until somebody joins
  finish,      ///< all steps are taken, or somebody asked for the end
  stop,        ///< nothing goes on, for a reason
};
[[nodiscard]] std::string_view name_of(Rung rung);

/// What the processes of a job do next: one value for all of them.
struct Agreement {
  std::int64_t generation = 0;
  std::vector<Member> members;  ///< ascending; who is not here takes no part any more
  Rung rung = Rung::in_place;
  std::string reason;
  std::int64_t attempt = 1;  ///< at this rung, since the last agreement that was carried out
  /// The agreement whose plan the job's state is under, and who holds that state; -1: none.
  std::int64_t base_generation = -1;
  std::vector<std::int64_t> holders;
  Progress progress;         ///< of the state, once all holders have taken the update of `decision`
  StepDecision decision;     ///< of the last step, where somebody has it
  double waited = 0.0;       ///< the longest that a member has, in seconds
  std::optional<Plan> plan;  ///< none where the job waits or ends

  [[nodiscard]] bool has_member(const Member& member) const;
  friend bool operator==(const Agreement&, const Agreement&) = default;
};

/// Members that its plan has a rank for.
[[nodiscard]] std::vector<Member> trainers_of(const Agreement& agreement);
/// They and those who hold the state: who takes part in what it says. Other members stand by; where
/// there is no plan, all take part.
[[nodiscard]] std::vector<Member> participants_of(const Agreement& agreement);

/// JSON; doubles keep their bits. Reading throws ParseError.
[[nodiscard]] Value to_value(const Standing& standing);
[[nodiscard]] Standing read_standing(const Reader& in);
[[nodiscard]] Value to_value(const Agreement& agreement);
[[nodiscard]] Agreement read_agreement(const Reader& in);

}  // namespace runflat::exec
