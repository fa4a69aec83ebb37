#include "exec/bench/collective_bench.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <vector>

namespace runflat::exec {
namespace {

constexpr std::int64_t kSize = sizeof(float);
constexpr std::int64_t kPeriod = 64;     // of the numbers: their sums are exact in fp32
constexpr std::int64_t kPart = 1 << 20;  // elements that are filled or checked at once
constexpr double kSecondsPerMeasurement = 0.2;
constexpr std::int64_t kMostRepeats = 2000;
constexpr auto kPatience = std::chrono::seconds(120);  // for a measurement

float element_of(std::int64_t rank, std::int64_t i) {
  return static_cast<float>((i + 31 * rank) % kPeriod);
}

/// A number for every element, which repeats every kPeriod elements.
using Element = std::function<float(std::int64_t i)>;

std::vector<float> part_of(const Element& element, std::int64_t first, std::int64_t num) {
  std::vector<float> part(static_cast<std::size_t>(std::min(num, kPart)));
  for (std::size_t i = 0; i < part.size(); ++i) {
    part[i] = element(first + static_cast<std::int64_t>(i));
  }
  return part;
}

/// Calls `use(offset, num)` for elements [first, first + num) part by part.
template <typename Use>
void for_parts(std::int64_t first, std::int64_t num, const Use& use) {
  for (std::int64_t done = 0; done < num; done += kPart) {
    use(first + done, std::min(kPart, num - done));
  }
}

void fill(Device& device, const Buffer& data, std::int64_t num, const Element& element) {
  const std::vector<float> part = part_of(element, 0, num);
  for_parts(0, num, [&](std::int64_t offset, std::int64_t count) {
    device.copy_in(data.at(offset * kSize), part.data(), count * kSize);
  });
}

std::int64_t count_wrong(Device& device,
                         const Buffer& data,
                         std::int64_t first,
                         std::int64_t num,
                         const Element& expected) {
  const std::vector<float> part = part_of(expected, first, num);
  std::vector<float> got(part.size());
  std::int64_t wrong = 0;
  for_parts(first, num, [&](std::int64_t offset, std::int64_t count) {
    device.copy_out(got.data(), data.at(offset * kSize), count * kSize);
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      wrong += got[i] == part[i] ? 0 : 1;
    }
  });
  return wrong;
}

/// A scalar over all ranks.
template <typename T>
T reduce_scalar(Device& device, Communicator& group, T own, DataType type, ReduceOp op) {
  const Buffer scalar = device.allocate(sizeof(T));
  device.copy_in(scalar.data(), &own, sizeof(T));
  finish(device, group, group.all_reduce(scalar.data(), 1, type, op));
  device.copy_out(&own, scalar.data(), sizeof(T));
  return own;
}

/// One collective on memory of its own.
class Collective {
 public:
  Collective(Device& device, Communicator& group, CollectiveKind kind, std::int64_t bytes)
      : device_(device),
        group_(group),
        kind_(kind),
        per_rank_(std::max<std::int64_t>(1, bytes / kSize / group.size())),
        num_(per_rank_ * group.size()),
        counts_(static_cast<std::size_t>(group.size()), per_rank_),
        data_(device.allocate(num_ * kSize)) {
    if (kind == CollectiveKind::exchange) {
      received_ = device.allocate(num_ * kSize);
    }
  }

  [[nodiscard]] std::int64_t bytes() const { return num_ * kSize; }
  [[nodiscard]] std::int64_t count() const {
    return kind_ == CollectiveKind::all_gather ? per_rank_ : num_;
  }

  Ticket post() {
    switch (kind_) {
      case CollectiveKind::all_reduce:
        return group_.all_reduce(data_.data(), num_, DataType::fp32, ReduceOp::sum);
      case CollectiveKind::reduce_scatter:
        return group_.reduce_scatter(data_.data(), counts_, DataType::fp32, ReduceOp::sum);
      case CollectiveKind::all_gather:
        return group_.all_gather(data_.data(), counts_, DataType::fp32);
      case CollectiveKind::exchange:
        break;
    }
    const Send send{(group_.rank() + 1) % group_.size(), data_.data(), bytes()};
    const Receive receive{previous(), received_.data(), bytes()};
    return group_.exchange({&send, 1}, {&receive, 1});
  }

  /// Elements of this rank that one operation leaves wrong.
  [[nodiscard]] std::int64_t check() {
    const std::int64_t rank = group_.rank();
    fill(device_, data_, num_, [&](std::int64_t i) { return element_of(rank, i); });
    finish(device_, group_, post());
    switch (kind_) {
      case CollectiveKind::all_reduce:
        return count_wrong(device_, data_, 0, num_, sum());
      case CollectiveKind::reduce_scatter:
        return count_wrong(device_, data_, rank * per_rank_, per_rank_, sum());
      case CollectiveKind::all_gather:
        return wrong_in_gathered();
      case CollectiveKind::exchange:
        break;
    }
    return count_wrong(
        device_, received_, 0, num_, [&](std::int64_t i) { return element_of(previous(), i); });
  }

 private:
  [[nodiscard]] std::int64_t previous() const {
    return (group_.rank() + group_.size() - 1) % group_.size();
  }

  [[nodiscard]] Element sum() const {
    return [num_ranks = group_.size()](std::int64_t i) {
      float sum = 0.0F;
      for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
        sum += element_of(rank, i);
      }
      return sum;
    };
  }

  [[nodiscard]] std::int64_t wrong_in_gathered() {
    std::int64_t wrong = 0;
    for (std::int64_t from = 0; from < group_.size(); ++from) {
      wrong += count_wrong(device_, data_, from * per_rank_, per_rank_, [&](std::int64_t i) {
        return element_of(from, i);
      });
    }
    return wrong;
  }

  Device& device_;
  Communicator& group_;
  CollectiveKind kind_;
  std::int64_t per_rank_;
  std::int64_t num_;
  std::vector<std::int64_t> counts_;
  Buffer data_;
  Buffer received_;
};

Seconds time_repeats(Device& device,
                     Communicator& group,
                     std::int64_t repeats,
                     const std::function<Ticket()>& post) {
  finish(device, group, group.barrier());
  const Clock::time_point begin = Clock::now();
  Ticket last = 0;
  for (std::int64_t i = 0; i < repeats; ++i) {
    last = post();
  }
  finish(device, group, last);
  const Seconds own = Seconds(Clock::now() - begin) / static_cast<double>(repeats);
  return Seconds(reduce_scalar(device, group, own.count(), DataType::fp64, ReduceOp::max));
}

}  // namespace

std::string_view to_string(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::all_reduce:
      return "all_reduce";
    case CollectiveKind::reduce_scatter:
      return "reduce_scatter";
    case CollectiveKind::all_gather:
      return "all_gather";
    case CollectiveKind::exchange:
      return "exchange";
  }
  return "";
}

double bus_factor(CollectiveKind kind, std::int64_t num_ranks) {
  const double share = static_cast<double>(num_ranks - 1) / static_cast<double>(num_ranks);
  switch (kind) {
    case CollectiveKind::all_reduce:
      return 2.0 * share;
    case CollectiveKind::reduce_scatter:
    case CollectiveKind::all_gather:
      return share;
    case CollectiveKind::exchange:
      break;
  }
  return 1.0;
}

void finish(Device& device, Communicator& group, Ticket ticket) {
  group.join(ticket);
  if (group.wait(deadline_in(kPatience)) != SyncStatus::done) {
    throw PeerLost("a rank of the benchmark is gone, or did not answer in time");
  }
  device.synchronize();
}

std::int64_t sum_over_ranks(Device& device, Communicator& group, std::int64_t own) {
  return reduce_scalar(device, group, own, DataType::int64, ReduceOp::sum);
}

Seconds time_posts(Device& device, Communicator& group, const std::function<Ticket()>& post) {
  const Seconds first = time_repeats(device, group, 2, post);  // warms up, the same on all ranks
  const auto repeats = static_cast<std::int64_t>(kSecondsPerMeasurement / first.count());
  return time_repeats(device, group, std::clamp<std::int64_t>(repeats, 2, kMostRepeats), post);
}

CollectiveTime time_collective(Device& device,
                               Communicator& group,
                               CollectiveKind kind,
                               std::int64_t bytes) {
  Collective collective(device, group, kind, bytes);
  CollectiveTime result{.bytes = collective.bytes(), .count = collective.count()};
  result.wrong = sum_over_ranks(device, group, collective.check());
  result.time = time_posts(device, group, [&] { return collective.post(); });
  return result;
}

}  // namespace runflat::exec
