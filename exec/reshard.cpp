#include "exec/reshard.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <numeric>
#include <span>

namespace runflat::exec {
namespace {

std::vector<UnitRange> ranges_on(const ShardMap& map, TpRank rank) {
  return rank.value() < map.degree() ? map.ranges_of(rank) : std::vector<UnitRange>{};
}

std::int64_t total(const std::vector<std::int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

/// One side of the reshard on this rank: its tensor and which units are where in it.
class Side {
 public:
  Side(const ParamSpec& param, const ShardMap& map, TpRank rank)
      : tensor_(local_param(param, map, rank)), ranges_(ranges_on(map, rank)) {}

  [[nodiscard]] const std::vector<UnitRange>& ranges() const { return ranges_; }

  /// The box of units that lie next to each other in the tensor.
  [[nodiscard]] UnitBox box_of(UnitRange units) const {
    std::int64_t num_before = 0;
    for (const UnitRange& range : ranges_) {
      if (units.first >= range.first && units.first + units.num <= range.first + range.num) {
        UnitBox box = tensor_.unit_box(num_before + units.first - range.first);
        box.block_size *= units.num;
        return box;
      }
      num_before += range.num;
    }
    throw InvalidArgument("units that this rank does not hold in one run");
  }

 private:
  ParamSpec tensor_;
  std::vector<UnitRange> ranges_;
};

/// Appends the copies of a box out of the tensor onto the end of the wire.
void append_packed(const UnitBox& box,
                   std::int64_t& wire_size,
                   std::vector<kernels::BoxCopy>& out) {
  for (const std::int64_t first : box.first) {
    out.push_back({.src_first = first,
                   .src_stride = box.stride,
                   .dst_first = wire_size,
                   .dst_stride = box.block_size,
                   .num_blocks = box.num_blocks,
                   .block_size = box.block_size});
    wire_size += box.num_blocks * box.block_size;
  }
}

kernels::BoxCopy reversed(kernels::BoxCopy copy) {
  std::swap(copy.src_first, copy.dst_first);
  std::swap(copy.src_stride, copy.dst_stride);
  return copy;
}

/// The copies of what is in both tensors of this rank, run by run.
std::vector<kernels::BoxCopy> kept(const Side& from, const Side& to) {
  std::vector<kernels::BoxCopy> copies;
  for (const UnitRange& a : from.ranges()) {
    for (const UnitRange& b : to.ranges()) {
      const std::int64_t first = std::max(a.first, b.first);
      const std::int64_t end = std::min(a.first + a.num, b.first + b.num);
      if (first >= end) {
        continue;
      }
      const UnitBox source = from.box_of({first, end - first});
      const UnitBox target = to.box_of({first, end - first});
      for (std::size_t base = 0; base < source.first.size(); ++base) {
        copies.push_back({.src_first = source.first[base],
                          .src_stride = source.stride,
                          .dst_first = target.first[base],
                          .dst_stride = target.stride,
                          .num_blocks = source.num_blocks,
                          .block_size = source.block_size});
      }
    }
  }
  return copies;
}

std::vector<std::int64_t> in_bytes(std::vector<std::int64_t> counts, std::int64_t element_size) {
  for (std::int64_t& count : counts) {
    count *= element_size;
  }
  return counts;
}

}  // namespace

ParamSpec local_param(const ParamSpec& param, const ShardMap& map, TpRank rank) {
  require(param.over_tp.has_value(), param.name + " is not divided over tp");
  require(param.over_tp->num_units == map.num_units(), param.name + " has other units");
  ParamSpec local = param;
  UnitSharding& units = *local.over_tp;
  units.num_units = 0;
  for (const UnitRange& range : ranges_on(map, rank)) {
    units.num_units += range.num;
  }
  const std::int64_t size = units.num_units * units.unit_size;  // of one base
  for (std::size_t base = 0; base < units.bases.size(); ++base) {
    units.bases[base] = static_cast<std::int64_t>(base) * size;
  }
  local.shape.at(static_cast<std::size_t>(units.dim)) =
      static_cast<std::int64_t>(units.bases.size()) * size;
  return local;
}

ParamReshard::ParamReshard(const ParamSpec& param,
                           const ShardMap& from,
                           const ShardMap& to,
                           TpRank rank) {
  const Reshard reshard = Reshard::between(from, to);
  require(rank.value() >= 0 && rank.value() < reshard.group_size(), "no such rank in the group");
  const Side source(param, from, rank);
  const Side target(param, to, rank);
  num_sent_to_.resize(static_cast<std::size_t>(reshard.group_size()));
  num_received_from_.resize(num_sent_to_.size());
  std::int64_t send_size = 0;
  std::int64_t recv_size = 0;
  // Sorted by sender, receiver and unit: both ends see the same order.
  for (const Transfer& transfer : reshard.transfers()) {
    if (transfer.from == rank) {
      const std::int64_t before = send_size;
      append_packed(source.box_of(transfer.units), send_size, pack_);
      num_sent_to_[transfer.to.index()] += send_size - before;
    } else if (transfer.to == rank) {
      const std::int64_t before = recv_size;
      append_packed(target.box_of(transfer.units), recv_size, unpack_);
      num_received_from_[transfer.from.index()] += recv_size - before;
    }
  }
  std::transform(unpack_.begin(), unpack_.end(), unpack_.begin(), reversed);
  keep_ = kept(source, target);
}

std::int64_t ParamReshard::num_sent() const {
  return total(num_sent_to_);
}

std::int64_t ParamReshard::num_received() const {
  return total(num_received_from_);
}

SyncStatus ParamReshard::run(const Memory& memory,
                             const CopyBoxes& copy_boxes,
                             Communicator& group,
                             Deadline deadline) const {
  require(group.size() == group_size(), "the communicator is not the reshard's TP group");
  const auto copy = [&](const void* src, void* dst, std::span<const kernels::BoxCopy> boxes) {
    if (!boxes.empty()) {
      copy_boxes({.src = src, .dst = dst, .element_size = memory.element_size, .boxes = boxes});
    }
  };
  copy(memory.from, memory.send, pack_);
  all_to_all_v(group,
               memory.send,
               in_bytes(num_sent_to_, memory.element_size),
               memory.recv,
               in_bytes(num_received_from_, memory.element_size));
  copy(memory.from, memory.to, keep_);
  const SyncStatus status = group.wait(deadline);
  if (status == SyncStatus::done) {
    copy(memory.recv, memory.to, unpack_);
  }
  return status;
}

}  // namespace runflat::exec
