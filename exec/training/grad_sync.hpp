#pragma once

#include "exec/communication/communicator.hpp"
#include "exec/device/device.hpp"
#include "exec/training/stage_state.hpp"

#include <cstddef>
#include <vector>

namespace runflat::exec {

/// Which operations of which communicator a bucket's synchronisation was, for the Timeline.
struct SyncOperation {
  enum class Kind { reshard_to_sync, reduce, gather, reshard_to_compute };
  Kind kind = Kind::reduce;
  std::size_t bucket = 0;
  Ticket ticket = 0;
  std::int64_t bytes = 0;  ///< of this rank
};

/// Synchronises the gradients of a virtual stage during its last backward pass, and its parameters
/// after the update: compute map to sync map inside the TP group, reduction over the replicas, and
/// back. Buckets go in their order; each starts as soon as its gradients are complete.
class GradSync {
 public:
  /// `tp` and `dp` are nullptr for groups of one rank.
  GradSync(Device& device, StageState& state, Communicator* tp, Communicator* dp);

  /// All gradients from the first_param-th on are complete: starts the buckets that need no others.
  void params_ready(std::size_t first_param);
  /// Starts what is left, and returns when this rank's compute may use the reduced gradients.
  void finish_reduction();
  /// With redundancy: every owner sends the gradients of its slice to whoever keeps a copy.
  void copy_slices();
  /// Brings the updated parameters of a bucket to everybody who computes with them. Buckets go in
  /// the order in which the next forward pass needs them: the last first.
  void start_distribution(std::size_t bucket);
  /// Returns when this rank's compute may use all parameters.
  void finish_distribution();

  /// What was done since the last call.
  [[nodiscard]] std::vector<SyncOperation> take_operations();

 private:
  void start(std::size_t bucket);
  void reduce(std::size_t bucket);
  [[nodiscard]] bool is_sync_rank() const;
  [[nodiscard]] std::vector<std::int64_t> slice_counts(const Bucket& bucket) const;

  Device& device_;
  StageState& state_;
  Communicator* tp_;
  Communicator* dp_;
  std::vector<std::size_t> first_param_;  // of every bucket
  std::size_t num_started_ = 0;
  std::size_t num_reduced_ = 0;
  std::vector<Ticket> exchanged_;
  std::vector<Ticket> reduced_;
  Ticket last_gather_ = 0;
  Ticket last_exchange_ = 0;
  std::vector<SyncOperation> operations_;
};

}  // namespace runflat::exec
