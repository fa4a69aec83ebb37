#include "exec/training/bucket_exchange.hpp"

#include <algorithm>
#include <numeric>

namespace runflat::exec {
namespace {

void* element(void* memory, std::int64_t offset, DataType type) {
  return static_cast<std::byte*>(memory) + offset * kernels::size_of(type);
}

/// Where elements of a slot's compute ranges lie; they are in one of the ranges.
std::int64_t compute_place(const ParamSlot& slot, ElementRange elements) {
  std::int64_t before = 0;
  for (const ElementRange& range : slot.compute) {
    if (elements.first >= range.first && elements.end() <= range.end()) {
      return slot.compute_offset + before + elements.first - range.first;
    }
    before += range.num;
  }
  return -1;
}

std::int64_t sync_place(const ParamSlot& slot, ElementRange elements) {
  return slot.sync_offset + elements.first - slot.sync.first;
}

}  // namespace

/// The ranks of the cell, seen from one of them.
struct BucketExchange::Group {
  const std::vector<StageLayout>& layouts;
  std::size_t rank;

  [[nodiscard]] std::size_t size() const { return layouts.size(); }
  [[nodiscard]] const ParamSlot& slot(std::size_t of_rank, std::size_t param) const {
    return layouts[of_rank].slots[param];
  }
  [[nodiscard]] const ParamSlot& mine(std::size_t param) const { return slot(rank, param); }

  /// Sync ranks in the order in which `receiver` asks them: itself, then extras in turn, so that
  /// what all extras want does not come from one rank.
  [[nodiscard]] std::vector<std::size_t> senders_to(std::size_t receiver, std::size_t param) const {
    std::vector<std::size_t> senders;
    for (std::size_t other = 0; other < size(); ++other) {
      if (slot(other, param).sync.num > 0) {
        senders.push_back(other);
      }
    }
    std::rotate(senders.begin(),
                senders.begin() + static_cast<std::ptrdiff_t>(receiver % senders.size()),
                senders.end());
    return senders;
  }
};

std::int64_t BucketExchange::Moves::num_sent() const {
  return std::accumulate(
      sends.begin(), sends.end(), std::int64_t{0}, [](std::int64_t sum, const Message& message) {
        return sum + message.num;
      });
}

BucketExchange::BucketExchange(const std::vector<StageParam>& params,
                               const std::vector<StageLayout>& layouts,
                               std::size_t bucket,
                               TpRank rank,
                               bool whole_are_partial) {
  const Group group{layouts, rank.index()};
  for (const std::size_t param : layouts[rank.index()].buckets[bucket].params) {
    const auto is_held_twice = [&] {
      std::int64_t num = 0;
      for (std::size_t r = 0; r < group.size(); ++r) {
        num += group.slot(r, param).num_compute;
      }
      return num > params[param].spec.num_elements();
    };
    if (params[param].is_divided()) {
      plan_gradients(group, param, is_held_twice());
    } else if (whole_are_partial && group.size() > 1) {
      plan_gradients(group, param, true);
    }
    plan_params(group, param);
  }
}

void BucketExchange::plan_gradients(const Group& group, std::size_t param, bool is_sum) {
  const ParamSlot& mine = group.mine(param);
  for (std::size_t from = 0; from < group.size(); ++from) {
    for (const ElementRange& range : group.slot(from, param).compute) {
      for (std::size_t to = 0; to < group.size(); ++to) {
        const ElementRange elements = overlap(range, group.slot(to, param).sync);
        if (elements.num == 0) {
          continue;
        }
        if (from == group.rank && to != group.rank) {
          to_sync_.sends.push_back({.peer = static_cast<std::int64_t>(to),
                                    .offset = compute_place(mine, elements),
                                    .num = elements.num});
        }
        if (to != group.rank) {
          continue;
        }
        if (is_sum) {
          plan_part(group, param, from, elements);
        } else if (from != group.rank) {
          to_sync_.receives.push_back({.peer = static_cast<std::int64_t>(from),
                                       .offset = sync_place(mine, elements),
                                       .num = elements.num});
        } else if (!mine.is_in_place()) {
          to_sync_.copies.push_back({.src = compute_place(mine, elements),
                                     .dst = sync_place(mine, elements),
                                     .num = elements.num});
        }
      }
    }
  }
}

void BucketExchange::plan_part(const Group& group,
                               std::size_t param,
                               std::size_t from,
                               ElementRange elements) {
  const ParamSlot& mine = group.mine(param);
  const std::int64_t dst = sync_place(mine, elements);
  auto sum = std::find_if(
      sums_.begin(), sums_.end(), [dst](const Sum& other) { return other.dst == dst; });
  if (sum == sums_.end()) {
    sum = sums_.insert(sums_.end(), {.elements = elements, .dst = dst, .parts = {}});
  }
  const auto stage = [&] {
    const std::int64_t place = num_staging_;
    num_staging_ += elements.num;
    return place;
  };
  if (from != group.rank) {
    const std::int64_t place = stage();
    to_sync_.receives.push_back({.peer = static_cast<std::int64_t>(from),
                                 .offset = place,
                                 .num = elements.num,
                                 .is_staged = true});
    sum->parts.push_back({.offset = place, .is_staged = true});
  } else {
    sum->parts.push_back({.offset = compute_place(mine, elements)});
    sum->aside = stage();
  }
}

void BucketExchange::plan_params(const Group& group, std::size_t param) {
  const ParamSlot& mine = group.mine(param);
  for (std::size_t to = 0; to < group.size(); ++to) {
    const ParamSlot& receiver = group.slot(to, param);
    const std::vector<std::size_t> senders = group.senders_to(to, param);
    for (const ElementRange& range : receiver.compute) {
      std::vector<ElementRange> found;
      // Sync copies hold equal ranges: the first sender of a range gives it.
      const auto take = [&](std::size_t from) {
        const ElementRange elements = overlap(range, group.slot(from, param).sync);
        if (elements.num == 0 || std::find(found.begin(), found.end(), elements) != found.end()) {
          return;
        }
        found.push_back(elements);
        if (from == to) {
          if (to == group.rank && !mine.is_in_place()) {
            to_compute_.copies.push_back({.src = sync_place(mine, elements),
                                          .dst = compute_place(mine, elements),
                                          .num = elements.num});
          }
        } else if (from == group.rank) {
          to_compute_.sends.push_back({.peer = static_cast<std::int64_t>(to),
                                       .offset = sync_place(mine, elements),
                                       .num = elements.num});
        } else if (to == group.rank) {
          to_compute_.receives.push_back({.peer = static_cast<std::int64_t>(from),
                                          .offset = compute_place(mine, elements),
                                          .num = elements.num});
        }
      };
      take(to);
      for (const std::size_t from : senders) {
        take(from);
      }
    }
  }
}

Ticket BucketExchange::post(Device& device,
                            Communicator& group,
                            const Moves& moves,
                            void* memory,
                            void* staging,
                            DataType type) const {
  const std::int64_t size = kernels::size_of(type);
  for (const LocalCopy& copy : moves.copies) {
    device.copy(element(memory, copy.dst, type), element(memory, copy.src, type), copy.num * size);
  }
  std::vector<Send> sends;
  for (const Message& message : moves.sends) {
    sends.push_back({message.peer, element(memory, message.offset, type), message.num * size});
  }
  std::vector<Receive> receives;
  for (const Message& message : moves.receives) {
    void* place = element(message.is_staged ? staging : memory, message.offset, type);
    receives.push_back({message.peer, place, message.num * size});
  }
  return group.exchange(sends, receives);
}

Ticket BucketExchange::post_gradients(
    Device& device, Communicator& group, void* grads, void* staging, DataType type) const {
  return post(device, group, to_sync_, grads, staging, type);
}

Ticket BucketExchange::post_params(Device& device,
                                   Communicator& group,
                                   void* params,
                                   DataType type) const {
  return post(device, group, to_compute_, params, nullptr, type);
}

void BucketExchange::sum_gradients(Device& device,
                                   void* grads,
                                   void* staging,
                                   DataType type) const {
  for (const Sum& sum : sums_) {
    void* dst = element(grads, sum.dst, type);
    std::vector<void*> parts;
    for (std::size_t i = 0; i < sum.parts.size(); ++i) {
      const Part& part = sum.parts[i];
      void* place = element(part.is_staged ? staging : grads, part.offset, type);
      if (place == dst && i > 0) {
        place = element(staging, sum.aside, type);
        device.copy(place, dst, sum.elements.num * kernels::size_of(type));
      }
      parts.push_back(place);
    }
    const void* sum_so_far = parts.front();
    for (std::size_t i = 1; i < parts.size(); ++i) {
      device.add({.a = sum_so_far, .b = parts[i], .y = dst, .num = sum.elements.num, .type = type});
      sum_so_far = dst;
    }
    if (sum_so_far != dst) {
      device.copy(dst, sum_so_far, sum.elements.num * kernels::size_of(type));
    }
  }
}

}  // namespace runflat::exec
