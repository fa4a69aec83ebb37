#pragma once

#include "exec/communication/communicator.hpp"
#include "exec/store/store.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace runflat::exec {

/// A group to be made. Members are processes, numbered for the life of the job, whatever ranks they
/// play; their order is that of the communicator's ranks.
struct GroupSpec {
  /// The same on all members and never used twice in a job: holds the generation, kind and place.
  std::string name;
  std::vector<std::int64_t> members;
  /// How long an operation may take from its turn in the queue.
  std::chrono::milliseconds timeout{600'000};
  /// Of a device's library, which connects a group the sooner the fewer there are; 0: as many as it
  /// likes.
  std::int64_t most_channels = 0;
  /// Whether to give up, for whoever waits for members to come; may be empty.
  std::function<bool()> is_interrupted{};
};

/// For a group that sums a few numbers in a step, and moves state in a transition.
inline constexpr std::int64_t kFewChannels = 8;

/// The value of a key that a member of the group sets; nothing where it is not there before the
/// deadline, or the group is given up.
[[nodiscard]] std::optional<std::string> wait_for(Store& store,
                                                  std::string_view key,
                                                  const GroupSpec& group,
                                                  Deadline deadline);

/// Makes communicators between the processes of a job.
class Transport {
 public:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  /// The number of this process.
  [[nodiscard]] virtual std::int64_t process() const = 0;

  /// All members call it, this process being one; groups that share processes are made in the same
  /// order everywhere. A group is null when not all members came before the deadline, or it was
  /// interrupted; so are then those after it.
  [[nodiscard]] virtual std::vector<std::unique_ptr<Communicator>> make_groups(
      std::span<const GroupSpec> groups, Deadline deadline) = 0;
  [[nodiscard]] std::unique_ptr<Communicator> make_group(const GroupSpec& group,
                                                         Deadline deadline) {
    return std::move(make_groups({&group, 1}, deadline).front());
  }
};

}  // namespace runflat::exec
