#pragma once

#include "exec/communication/communicator.hpp"
#include "exec/communication/transport.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace runflat::exec {

/// What a transport on the host has to bring: the operations of Communicator, each of which returns
/// when it is over and never later than shortly after its deadline. When it returns, whatever the
/// status, nothing touches the operation's memory any more. After a status other than done the
/// group is of no use, here and on all peers.
///
/// Operations come from one thread at a time, with arguments that have been checked.
class BlockingGroup {
 public:
  BlockingGroup() = default;
  BlockingGroup(const BlockingGroup&) = delete;
  BlockingGroup& operator=(const BlockingGroup&) = delete;
  /// Peers that still wait for this rank get peer_lost.
  virtual ~BlockingGroup() = default;

  [[nodiscard]] virtual std::int64_t rank() const = 0;
  [[nodiscard]] virtual std::int64_t size() const = 0;

  virtual SyncStatus all_reduce(
      std::byte* data, std::int64_t num, DataType type, ReduceOp op, Deadline deadline) = 0;
  virtual SyncStatus reduce_scatter(std::byte* data,
                                    std::span<const std::int64_t> counts,
                                    DataType type,
                                    ReduceOp op,
                                    Deadline deadline) = 0;
  virtual SyncStatus all_gather(std::byte* data,
                                std::span<const std::int64_t> counts,
                                DataType type,
                                Deadline deadline) = 0;
  virtual SyncStatus broadcast(std::byte* data,
                               std::int64_t bytes,
                               std::int64_t root,
                               Deadline deadline) = 0;
  virtual SyncStatus exchange(std::span<const Send> sends,
                              std::span<const Receive> receives,
                              Deadline deadline) = 0;
  virtual SyncStatus barrier(Deadline deadline) = 0;

  /// Makes the operation in progress and all later ones return peer_lost, here and on all peers.
  /// Comes from any thread, any number of times.
  virtual void abort() = 0;
};

/// Makes blocking groups as Transport makes communicators.
class GroupMaker {
 public:
  GroupMaker() = default;
  GroupMaker(const GroupMaker&) = delete;
  GroupMaker& operator=(const GroupMaker&) = delete;
  virtual ~GroupMaker() = default;

  /// Null when not all members came before the deadline.
  [[nodiscard]] virtual std::unique_ptr<BlockingGroup> make(const GroupSpec& group,
                                                            Deadline deadline) = 0;
};

}  // namespace runflat::exec
