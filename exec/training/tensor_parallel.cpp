#include "exec/training/tensor_parallel.hpp"

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

void* TensorParallel::make_full(Device& device, void* own, void* full, std::int64_t cols) const {
  if (!is_split()) {
    return own;
  }
  device.copy(own_part(full, cols), own, local_tokens() * cols * kernels::size_of(type_));
  return full;
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

void TensorParallel::gather_while(void* full, std::int64_t cols, const Rows& compute) {
  const Ticket gathered = gather(full, cols);
  const std::int64_t first = tokens_.first_position(rank()) * tokens_.batch_size;
  const std::int64_t end = first + local_tokens();
  compute(first, end - first);
  join(gathered);
  if (first > 0) {
    compute(0, first);
  }
  if (end < tokens_.tokens()) {
    compute(end, tokens_.tokens() - end);
  }
}

void TensorParallel::reduce_while(
    Device& device, void* full, void* staging, std::int64_t cols, const Rows& compute) {
  if (!is_split()) {
    compute(0, tokens_.tokens());
    join(reduce(full, cols));
    return;
  }
  const std::int64_t row = cols * kernels::size_of(type_);
  const std::int64_t own = local_tokens();
  const auto rows_of = [&](std::int64_t peer) {
    return static_cast<std::byte*>(full) + tokens_.first_position(peer) * tokens_.batch_size * row;
  };
  const auto staged = [&](std::int64_t peer) {
    const std::int64_t index = peer < rank() ? peer : peer - 1;
    return static_cast<std::byte*>(staging) + index * own * row;
  };
  Ticket last = kNoOperation;
  // Step k: everybody sends to the k-th rank after it, so that sends and receives pair up.
  for (std::int64_t k = 1; k < size(); ++k) {
    const std::int64_t to = (rank() + k) % size();
    const std::int64_t from = (rank() + size() - k) % size();
    compute(tokens_.first_position(to) * tokens_.batch_size, tokens_.local_tokens(to));
    const Send send{to, rows_of(to), tokens_.local_tokens(to) * row};
    const Receive receive{from, staged(from), own * row};
    last = group_->exchange(std::span(&send, 1), std::span(&receive, 1));
  }
  compute(tokens_.first_position(rank()) * tokens_.batch_size, own);
  join(last);
  add_parts(device, rows_of(rank()), staging, cols);
}

/// The own part, which the others' parts surround in the order of ranks.
void TensorParallel::add_parts(Device& device, void* own, void* staging, std::int64_t cols) {
  const std::int64_t num = local_tokens() * cols;
  auto* parts = static_cast<std::byte*>(staging);
  const std::int64_t bytes = num * kernels::size_of(type_);
  const auto add = [&](const void* a, const void* b, void* y) {
    device.add({.a = a, .b = b, .y = y, .num = num, .type = type_});
  };
  for (std::int64_t before = 1; before < rank(); ++before) {
    add(parts, parts + before * bytes, parts);
  }
  if (rank() > 0) {
    add(parts, own, own);
  }
  for (std::int64_t after = rank(); after + 1 < size(); ++after) {
    add(own, parts + after * bytes, own);
  }
}

void TensorParallel::join(Ticket ticket) {
  if (ticket != kNoOperation) {
    group_->join(ticket);
  }
}

}  // namespace runflat::exec
