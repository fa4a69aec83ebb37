#include "exec/communication/exchange_group.hpp"

#include "exec/communication/reduction.hpp"

#include <numeric>
#include <vector>

namespace runflat::exec {
namespace {

constexpr std::int64_t kSmallBytes = 4096;  // one round of messages is faster than two up to here

/// As many elements for everyone, the first ones one more.
std::vector<std::int64_t> even_counts(std::int64_t num, std::int64_t size) {
  std::vector<std::int64_t> counts;
  for (std::int64_t rank = 0; rank < size; ++rank) {
    counts.push_back(num / size + (rank < num % size ? 1 : 0));
  }
  return counts;
}

/// Where the part of each rank starts, in bytes.
std::vector<std::int64_t> offsets_of(std::span<const std::int64_t> counts, DataType type) {
  std::vector<std::int64_t> offsets(counts.size());
  std::exclusive_scan(counts.begin(), counts.end(), offsets.begin(), std::int64_t{0});
  for (std::int64_t& offset : offsets) {
    offset *= size_of(type);
  }
  return offsets;
}

/// The same array of each rank, received one after the other in memory of its own, but this rank's,
/// which stays where it is.
class ArraysOfRanks {
 public:
  ArraysOfRanks(std::byte* mine, std::int64_t bytes, const BlockingGroup& group)
      : memory_(static_cast<std::size_t>(bytes * (group.size() - 1))) {
    std::byte* next = memory_.data();
    for (std::int64_t peer = 0; peer < group.size(); ++peer) {
      arrays_.push_back(peer == group.rank() ? mine : next);
      if (peer != group.rank() && bytes > 0) {
        receives_.push_back({peer, next, bytes});
        next += bytes;
      }
    }
  }

  [[nodiscard]] std::span<const std::byte* const> arrays() const { return arrays_; }
  [[nodiscard]] std::span<const Receive> receives() const { return receives_; }

 private:
  std::vector<std::byte> memory_;
  std::vector<const std::byte*> arrays_;
  std::vector<Receive> receives_;
};

/// The same bytes to everyone else.
std::vector<Send> sends_to_all(const std::byte* data,
                               std::int64_t bytes,
                               const BlockingGroup& group) {
  std::vector<Send> sends;
  for (std::int64_t peer = 0; peer < group.size() && bytes > 0; ++peer) {
    if (peer != group.rank()) {
      sends.push_back({peer, data, bytes});
    }
  }
  return sends;
}

}  // namespace

SyncStatus ExchangeGroup::all_reduce(
    std::byte* data, std::int64_t num, DataType type, ReduceOp op, Deadline deadline) {
  const std::int64_t bytes = num * size_of(type);
  if (bytes > kSmallBytes) {
    const std::vector<std::int64_t> counts = even_counts(num, size());
    const SyncStatus status = reduce_scatter(data, counts, type, op, deadline);
    return status == SyncStatus::done ? all_gather(data, counts, type, deadline) : status;
  }
  const ArraysOfRanks all(data, bytes, *this);
  const SyncStatus status = exchange(sends_to_all(data, bytes, *this), all.receives(), deadline);
  if (status == SyncStatus::done) {
    reduce(all.arrays(), std::span(&data, 1), num, type, op);
  }
  return status;
}

SyncStatus ExchangeGroup::reduce_scatter(std::byte* data,
                                         std::span<const std::int64_t> counts,
                                         DataType type,
                                         ReduceOp op,
                                         Deadline deadline) {
  const std::vector<std::int64_t> offsets = offsets_of(counts, type);
  const auto me = static_cast<std::size_t>(rank());
  std::vector<Send> sends;
  for (std::size_t peer = 0; peer < counts.size(); ++peer) {
    if (peer != me && counts[peer] > 0) {
      sends.push_back(
          {static_cast<std::int64_t>(peer), data + offsets[peer], counts[peer] * size_of(type)});
    }
  }
  std::byte* const mine = data + offsets[me];
  const ArraysOfRanks parts(mine, counts[me] * size_of(type), *this);
  const SyncStatus status = exchange(sends, parts.receives(), deadline);
  if (status == SyncStatus::done) {
    reduce(parts.arrays(), std::span(&mine, 1), counts[me], type, op);
  }
  return status;
}

SyncStatus ExchangeGroup::all_gather(std::byte* data,
                                     std::span<const std::int64_t> counts,
                                     DataType type,
                                     Deadline deadline) {
  const std::vector<std::int64_t> offsets = offsets_of(counts, type);
  const auto me = static_cast<std::size_t>(rank());
  std::vector<Receive> receives;
  for (std::size_t peer = 0; peer < counts.size(); ++peer) {
    if (peer != me && counts[peer] > 0) {
      receives.push_back(
          {static_cast<std::int64_t>(peer), data + offsets[peer], counts[peer] * size_of(type)});
    }
  }
  return exchange(
      sends_to_all(data + offsets[me], counts[me] * size_of(type), *this), receives, deadline);
}

SyncStatus ExchangeGroup::broadcast(std::byte* data,
                                    std::int64_t bytes,
                                    std::int64_t root,
                                    Deadline deadline) {
  if (bytes == 0) {
    return exchange({}, {}, deadline);
  }
  if (rank() == root) {
    return exchange(sends_to_all(data, bytes, *this), {}, deadline);
  }
  const Receive receive{root, data, bytes};
  return exchange({}, std::span(&receive, 1), deadline);
}

/// In round i everyone tells the rank 2^i further on that all it has heard of are there.
SyncStatus ExchangeGroup::barrier(Deadline deadline) {
  for (std::int64_t distance = 1; distance < size(); distance *= 2) {
    const Send send{(rank() + distance) % size(), nullptr, 0};
    const Receive receive{(rank() + size() - distance) % size(), nullptr, 0};
    const SyncStatus status = exchange(std::span(&send, 1), std::span(&receive, 1), deadline);
    if (status != SyncStatus::done) {
      return status;
    }
  }
  return SyncStatus::done;
}

}  // namespace runflat::exec
