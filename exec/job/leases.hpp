#pragma once

#include "exec/store/store.hpp"

#include <chrono>
#include <cstdint>
#include <vector>

namespace runflat::exec {

/// By which the agents of a job know of each other that they live: a counter in the Store for each,
/// which it raises with every beat. One that stands still while another agent beats `kPatience`
/// times counts as lost, with its host: the other marks its workers as dead, so that the rest of
/// the job goes on without them. No clocks are compared, and beats that come late, as while the
/// Store was out of reach, accuse nobody.
///
/// The first `kNumWatchers` agents that live watch over all, and the others over those, so that a
/// job of n agents asks the Store about 2 kNumWatchers n times a beat. Where all watchers are lost
/// at once, others are found lost after them. It does not matter how many find one lost.
class Leases {
 public:
  static constexpr std::int64_t kPatience = 10;    ///< beats
  static constexpr std::int64_t kNumWatchers = 3;  ///< agents

  /// Of the agent of a place in a job of so many, whose workers are these processes. A lost one is
  /// said to have been silent for `timeout`, which is how long `kPatience` beats should take.
  Leases(Store& store,
         std::int64_t place,
         std::int64_t num_places,
         const std::vector<std::int64_t>& processes,
         std::chrono::milliseconds timeout);

  /// Shows that this agent lives, and looks at the others.
  void beat();

  /// Whether others have counted this agent as lost since the last call: workers that they have
  /// marked as dead are to be ended.
  [[nodiscard]] bool was_lost();

 private:
  struct Lease {
    std::int64_t count = 0;      // as it was when last seen; 0: this agent has not come yet
    std::int64_t num_still = 0;  // beats for which it has been that
  };

  [[nodiscard]] bool is_lost(std::int64_t place);
  void mark_lost(std::int64_t place);

  Store& store_;
  std::int64_t place_;
  std::chrono::milliseconds timeout_;
  std::vector<Lease> leases_;  // by place
};

/// Says that a process stays away for ever, or not; where all do, the job is over.
void set_gone(Store& store, std::int64_t process, bool is_gone);
[[nodiscard]] bool is_gone(Store& store, std::int64_t process);

}  // namespace runflat::exec
