#pragma once

#include "exec/recovery/agreement.hpp"
#include "exec/store/store.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace runflat::exec {

/// How a process comes to a meeting.
enum class Arrival : std::uint8_t {
  newcomer,  ///< waits until others hold the meeting
  due,       ///< calls it; all have agreed to, and come when they are done with what they do
  in_need,   ///< calls it, and the others are to leave all else: somebody may be lost
};

/// Where the processes of a job meet, in the Store, to agree on how to go on. Meetings are numbered
/// by generation; each leads to one Agreement, which whoever is among its members carries out, and
/// if that fails all of them come to the next meeting.
///
/// A meeting waits for the members of the last agreement, save those that are known to be dead. Who
/// does not come before the deadline is left out, and finds when it comes that it has been: so a
/// process that hangs, or comes back from the dead, changes nothing. New processes come to the next
/// meeting and wait until the others hold it.
class Rendezvous {
 public:
  /// `patience`: how long a meeting waits for those that are not known to be dead.
  Rendezvous(Store& store, const Member& self, std::chrono::milliseconds patience);

  /// This life of this process.
  [[nodiscard]] const Member& self() const { return self_; }

  [[nodiscard]] Agreement agreement(std::int64_t generation);

  /// Makes the agreement from what those who came say of themselves, by process.
  using Decide = std::function<Agreement(const std::vector<Standing>& standings)>;

  /// Comes to a meeting and returns what was agreed, maybe without this process. `expected` are
  /// those that it waits for. Who has waited for half the patience is in need.
  [[nodiscard]] Agreement meet(std::int64_t generation,
                               const std::vector<Member>& expected,
                               const Standing& standing,
                               Arrival arrival,
                               const Decide& decide);

  /// The processes that wait for this meeting to be held.
  [[nodiscard]] std::vector<std::int64_t> newcomers(std::int64_t generation);
  /// Counts what may concern a worker that trains: deaths, and arrivals at meetings.
  [[nodiscard]] std::string num_events();
  /// Whether it is being held; waits for that until the deadline.
  [[nodiscard]] bool is_called(std::int64_t generation, Deadline deadline);
  /// Whether somebody there is in need of the others.
  [[nodiscard]] bool is_needed(std::int64_t generation);
  [[nodiscard]] bool has_lost(const std::vector<Member>& members);

 private:
  [[nodiscard]] std::vector<Standing> standings(std::int64_t generation);
  void note_last(std::int64_t generation);
  void call_for_help(std::int64_t generation);

  Store& store_;
  Member self_;
  std::chrono::milliseconds patience_;
};

/// The number of a new life of a process, from 1.
[[nodiscard]] std::int64_t begin_life(Store& store, std::int64_t process);

/// The generation of the last agreement that anybody has noted; -1: none.
[[nodiscard]] std::int64_t last_generation(Store& store);
/// That agreement.
[[nodiscard]] std::optional<Agreement> last_agreement(Store& store);

/// Whether anybody has ever trained, for those who come when all who have are gone.
[[nodiscard]] bool has_begun(Store& store);
void begin_job(Store& store);

/// How a life of a process ended.
struct Death {
  std::string cause;  ///< in words
  std::chrono::system_clock::time_point when{};
};
/// Says that a life of a process is over; whoever watches it calls this. The first to do so counts.
void mark_dead(Store& store, const Member& member, const std::string& cause);
[[nodiscard]] bool is_dead(Store& store, const Member& member);
[[nodiscard]] std::optional<Death> find_death(Store& store, const Member& member);

}  // namespace runflat::exec
