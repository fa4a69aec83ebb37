#pragma once

#include "core/units.hpp"
#include "exec/communication/communicator.hpp"
#include "exec/device/device.hpp"

#include <cstdint>
#include <functional>
#include <string_view>

namespace runflat::exec {

/// What nccl-tests times, by our names: `exchange` sends to the next rank and receives from the one
/// before.
enum class CollectiveKind : std::uint8_t { all_reduce, reduce_scatter, all_gather, exchange };

[[nodiscard]] std::string_view to_string(CollectiveKind kind);

/// A collective of fp32 elements, measured. `bytes` is that of the largest buffer of a rank,
/// `wrong` counts the elements that differ from their definition over all ranks.
struct CollectiveTime {
  std::int64_t bytes = 0;
  std::int64_t count = 0;  ///< elements that a rank brings
  Seconds time{};          ///< of one operation among many in a row, on the slowest rank
  std::int64_t wrong = 0;

  [[nodiscard]] double algbw() const { return static_cast<double>(bytes) / time.count(); }
};

/// busbw over algbw, as nccl-tests derives it: the share of `bytes` that must cross a rank's link.
[[nodiscard]] double bus_factor(CollectiveKind kind, std::int64_t num_ranks);

/// Checks one operation of about so many bytes (whole elements, the same number on every rank),
/// then times many. All ranks call it alike; PeerLost when one is gone.
[[nodiscard]] CollectiveTime time_collective(Device& device,
                                             Communicator& group,
                                             CollectiveKind kind,
                                             std::int64_t bytes);

/// Seconds that one call of `post` takes on the slowest rank, when many follow each other for about
/// a fifth of a second. `post` queues operations of `group` and gives the last one.
[[nodiscard]] Seconds time_posts(Device& device,
                                 Communicator& group,
                                 const std::function<Ticket()>& post);

/// Waits for an operation on the host, whatever it runs on. PeerLost when it failed.
void finish(Device& device, Communicator& group, Ticket ticket);

/// The sum over the ranks.
[[nodiscard]] std::int64_t sum_over_ranks(Device& device, Communicator& group, std::int64_t own);

}  // namespace runflat::exec
