#pragma once

#include "core/id.hpp"
#include "exec/communication/communicator.hpp"
#include "exec/device/device.hpp"
#include "exec/training/param_layout.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace runflat::exec {

/// One rank's part in moving a bucket between its TP group's compute maps and sync maps: gradients
/// to the sync ranks, parameters back. Runs of units are contiguous on both ends, so messages go
/// straight from memory to memory, all of a bucket in one group.
///
/// Gradients that several ranks hold parts of (norms under sequence parallelism, kv-groups that
/// several ranks share) are summed by their sync ranks, in the order of ranks, so that all copies
/// end up equal to the bit.
class BucketExchange {
 public:
  /// `layouts` are those of all ranks of the cell, by tp rank. `whole_are_partial`: every rank has
  /// a part of the gradients of parameters that are not divided, instead of the same whole.
  BucketExchange(const std::vector<StageParam>& params,
                 const std::vector<StageLayout>& layouts,
                 std::size_t bucket,
                 TpRank rank,
                 bool whole_are_partial);

  /// Elements of staging memory that gradients need.
  [[nodiscard]] std::int64_t num_staging() const { return num_staging_; }
  /// Whether this rank has anything to send, receive, copy or sum.
  [[nodiscard]] bool moves_gradients() const { return !to_sync_.is_empty() || !sums_.empty(); }
  [[nodiscard]] bool moves_params() const { return !to_compute_.is_empty(); }
  /// Whether parameters are copied within this rank before they are sent.
  [[nodiscard]] bool copies_params() const { return !to_compute_.copies.empty(); }
  [[nodiscard]] bool has_sums() const { return !sums_.empty(); }
  /// Elements that this rank sends for gradients and for parameters.
  [[nodiscard]] std::int64_t num_gradients_sent() const { return to_sync_.num_sent(); }
  [[nodiscard]] std::int64_t num_params_sent() const { return to_compute_.num_sent(); }

  /// Starts to move the bucket's gradients; `type` is that of the elements of both memories.
  Ticket post_gradients(
      Device& device, Communicator& group, void* grads, void* staging, DataType type) const;
  /// Once they have arrived: puts the sums in place.
  void sum_gradients(Device& device, void* grads, void* staging, DataType type) const;

  /// Starts to move the bucket's parameters to where they are computed with.
  Ticket post_params(Device& device, Communicator& group, void* params, DataType type) const;

 private:
  struct Message {
    std::int64_t peer = 0;
    std::int64_t offset = 0;
    std::int64_t num = 0;
    bool is_staged = false;
  };
  struct LocalCopy {
    std::int64_t src = 0;
    std::int64_t dst = 0;
    std::int64_t num = 0;
  };
  struct Moves {
    std::vector<Message> sends;
    std::vector<Message> receives;
    std::vector<LocalCopy> copies;

    [[nodiscard]] bool is_empty() const {
      return sends.empty() && receives.empty() && copies.empty();
    }
    [[nodiscard]] std::int64_t num_sent() const;
  };
  struct Part {
    std::int64_t offset = 0;
    bool is_staged = false;
  };
  struct Sum {
    ElementRange elements;
    std::int64_t dst = 0;
    std::int64_t aside = 0;   ///< staging for this rank's part where the sum is built on top of it
    std::vector<Part> parts;  ///< by rank
  };
  struct Group;

  void plan_gradients(const Group& group, std::size_t param, bool is_sum);
  void plan_part(const Group& group, std::size_t param, std::size_t from, ElementRange elements);
  void plan_params(const Group& group, std::size_t param);
  Ticket post(Device& device,
              Communicator& group,
              const Moves& moves,
              void* memory,
              void* staging,
              DataType type) const;

  Moves to_sync_;
  Moves to_compute_;
  std::vector<Sum> sums_;
  std::int64_t num_staging_ = 0;
};

}  // namespace runflat::exec
