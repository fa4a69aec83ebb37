#include "exec/tensor_parallel.hpp"

#include "core/shard_map.hpp"

#include <cstddef>
#include <numeric>

namespace runflat::exec {
namespace {

// A ticket of nothing: there is no operation to wait for.
constexpr Ticket kNoOperation = 0;

}  // namespace

std::int64_t TokenShape::first_position(std::int64_t tp_rank) const {
  return is_split()
             ? std::accumulate(seq_split.begin(), seq_split.begin() + tp_rank, std::int64_t{0})
             : 0;
}

std::int64_t TokenShape::num_positions(std::int64_t tp_rank) const {
  return is_split() ? seq_split[static_cast<std::size_t>(tp_rank)] : seq_length;
}

TokenShape make_token_shape(std::int64_t seq_length,
                            std::int64_t batch_size,
                            std::int64_t tp_size,
                            bool sequence_parallel) {
  TokenShape shape{.seq_length = seq_length, .batch_size = batch_size, .seq_split = {}};
  if (sequence_parallel && tp_size > 1) {
    const ShardMap map = ShardMap::contiguous(seq_length, tp_size);
    for (std::int64_t rank = 0; rank < tp_size; ++rank) {
      shape.seq_split.push_back(map.num_units_of(TpRank(rank)));
    }
  }
  return shape;
}

TensorParallel::TensorParallel(Communicator* group, const TokenShape& tokens, DataType type)
    : group_(group), tokens_(tokens), type_(type) {}

std::vector<std::int64_t> TensorParallel::counts(std::int64_t cols) const {
  std::vector<std::int64_t> counts;
  for (const std::int64_t positions : tokens_.seq_split) {
    counts.push_back(positions * tokens_.batch_size * cols);
  }
  return counts;
}

void* TensorParallel::own_part(void* full, std::int64_t cols) const {
  const std::int64_t first = tokens_.first_position(rank()) * tokens_.batch_size;
  return static_cast<std::byte*>(full) + first * cols * kernels::size_of(type_);
}

Ticket TensorParallel::gather(void* full, std::int64_t cols) {
  return is_split() ? group_->all_gather(full, counts(cols), type_) : kNoOperation;
}

Ticket TensorParallel::reduce(void* full, std::int64_t cols) {
  if (size() == 1) {
    return kNoOperation;
  }
  return is_split() ? group_->reduce_scatter(full, counts(cols), type_, ReduceOp::sum)
                    : group_->all_reduce(full, tokens_.tokens() * cols, type_, ReduceOp::sum);
}

void TensorParallel::join(Ticket ticket) {
  if (ticket != kNoOperation) {
    group_->join(ticket);
  }
}

}  // namespace runflat::exec
