#pragma once

#include "exec/communication/communicator.hpp"
#include "exec/device/device.hpp"

#include <cstdint>
#include <functional>
#include <vector>

namespace runflat::exec {

/// The activations of one microbatch on one rank: [s, b, h] tensors, of which, under sequence
/// parallelism, the rank holds a contiguous part of s outside the divided layers.
struct TokenShape {
  std::int64_t seq_length = 0;
  std::int64_t batch_size = 0;
  std::vector<std::int64_t> seq_split;  ///< positions of every tp rank; empty: all have all

  [[nodiscard]] std::int64_t tokens() const { return seq_length * batch_size; }
  [[nodiscard]] bool is_split() const { return !seq_split.empty(); }
  /// The first position and the number of positions of a rank.
  [[nodiscard]] std::int64_t first_position(std::int64_t tp_rank) const;
  [[nodiscard]] std::int64_t num_positions(std::int64_t tp_rank) const;
  [[nodiscard]] std::int64_t local_tokens(std::int64_t tp_rank) const {
    return num_positions(tp_rank) * batch_size;
  }
};

/// `seq_length` over `tp_size` ranks where it is divided, the first ranks getting the rest.
[[nodiscard]] TokenShape make_token_shape(std::int64_t seq_length,
                                          std::int64_t batch_size,
                                          std::int64_t tp_size,
                                          bool sequence_parallel);

/// The communication of one TP group around divided layers. A "full" tensor is [tokens, cols]; a
/// rank's own part of it is that of its positions, or all of it without sequence parallelism.
class TensorParallel {
 public:
  /// `group` is nullptr for a cell of one rank.
  TensorParallel(Communicator* group, const TokenShape& tokens, DataType type);

  [[nodiscard]] std::int64_t rank() const { return group_ == nullptr ? 0 : group_->rank(); }
  [[nodiscard]] std::int64_t size() const { return group_ == nullptr ? 1 : group_->size(); }
  [[nodiscard]] Communicator* group() const { return group_; }
  [[nodiscard]] const TokenShape& tokens() const { return tokens_; }
  [[nodiscard]] std::int64_t local_tokens() const { return tokens_.local_tokens(rank()); }
  [[nodiscard]] bool is_split() const { return tokens_.is_split(); }

  [[nodiscard]] void* own_part(void* full, std::int64_t cols) const;
  /// Where gather() makes the full tensor of an own part: in `full`, to which the part is copied,
  /// or where the part is already everything, in place.
  [[nodiscard]] void* make_full(Device& device, void* own, void* full, std::int64_t cols) const;

  /// Own parts become the full tensor: nothing to do without sequence parallelism.
  Ticket gather(void* full, std::int64_t cols);
  /// The sum of all ranks' full tensors, in every rank's own part.
  Ticket reduce(void* full, std::int64_t cols);
  void join(Ticket ticket);

  /// What is computed row by row of a full tensor: rows [first, first + num).
  using Rows = std::function<void(std::int64_t first, std::int64_t num)>;

  /// gather(), with the computation that reads the full tensor: the own part's rows are computed
  /// while those of the others arrive.
  void gather_while(void* full, std::int64_t cols, const Rows& compute);

  /// reduce(), with the computation that writes this rank's part of the sum: rows that go to other
  /// ranks are computed first and travel while the own part's are computed. `staging` holds the
  /// others' parts of this rank's rows, (size() - 1) times the own part. Sums are in the order of
  /// ranks.
  void reduce_while(
      Device& device, void* full, void* staging, std::int64_t cols, const Rows& compute);

 private:
  [[nodiscard]] std::vector<std::int64_t> counts(std::int64_t cols) const;
  void add_parts(Device& device, void* own, void* staging, std::int64_t cols);

  Communicator* group_;
  TokenShape tokens_;
  DataType type_;
};

}  // namespace runflat::exec
