#include "exec/bench/reshard_bench.hpp"

#include "exec/bench/collective_bench.hpp"
#include "exec/training/bucket_exchange.hpp"
#include "exec/training/param_layout.hpp"

#include <algorithm>

namespace runflat::exec {
namespace {

/// What an element is before it moves: whole numbers that bf16 holds, and sums of copies too.
float value_of(std::size_t param, std::int64_t element) {
  return static_cast<float>((element + 7 * static_cast<std::int64_t>(param)) % 16);
}

template <typename T>
std::vector<T> read(Device& device, const Buffer& data, std::int64_t num) {
  std::vector<T> out(static_cast<std::size_t>(num));
  device.copy_out(out.data(), data.data(), num * static_cast<std::int64_t>(sizeof(T)));
  return out;
}

template <typename T>
void write(Device& device, const Buffer& data, const std::vector<T>& values) {
  device.copy_in(data.data(), values.data(), static_cast<std::int64_t>(values.size() * sizeof(T)));
}

class BucketBench {
 public:
  BucketBench(Device& device,
              Communicator& tp,
              const std::vector<StageParam>& params,
              const std::vector<StageLayout>& layouts,
              std::size_t bucket)
      : device_(device),
        tp_(tp),
        params_(params),
        layouts_(layouts),
        bucket_(bucket),
        mine_(layouts[static_cast<std::size_t>(tp.rank())]) {
    for (std::int64_t rank = 0; rank < tp.size(); ++rank) {
      exchanges_.emplace_back(params, layouts, bucket, TpRank(rank), false);
    }
  }

  [[nodiscard]] ReshardTime to_sync() {
    constexpr DataType kType = DataType::fp32;
    const Buffer grads = device_.allocate(num() * kernels::size_of(kType));
    const Buffer staging = device_.allocate(exchange().num_staging() * kernels::size_of(kType));
    const auto post = [&] {
      const Ticket ticket =
          exchange().post_gradients(device_, tp_, grads.data(), staging.data(), kType);
      if (exchange().has_sums()) {
        tp_.join(ticket);
        exchange().sum_gradients(device_, grads.data(), staging.data(), kType);
      }
      return ticket;
    };
    write(device_, grads, computed<float>());
    finish(device_, tp_, post());
    const std::int64_t wrong = wrong_in_sync(read<float>(device_, grads, num()));
    return measured(true, kType, wrong, post);
  }

  [[nodiscard]] ReshardTime to_compute() {
    constexpr DataType kType = DataType::bf16;
    const Buffer weights = device_.allocate(num() * kernels::size_of(kType));
    const auto post = [&] { return exchange().post_params(device_, tp_, weights.data(), kType); };
    write(device_, weights, synchronised<kernels::BFloat16>());
    finish(device_, tp_, post());
    const std::int64_t wrong = wrong_in_compute(read<kernels::BFloat16>(device_, weights, num()));
    return measured(false, kType, wrong, post);
  }

 private:
  [[nodiscard]] const BucketExchange& exchange() const {
    return exchanges_[static_cast<std::size_t>(tp_.rank())];
  }
  [[nodiscard]] const BucketShape& shape() const { return mine_.buckets[bucket_]; }
  [[nodiscard]] std::int64_t num() const { return shape().num; }

  /// Calls `use(place in the bucket's memory, parameter, element)` for all that this rank computes
  /// with, or synchronises.
  template <typename Use>
  void for_computed(const Use& use) const {
    for (const std::size_t param : shape().params) {
      std::int64_t place = mine_.slots[param].compute_offset;
      for (const ElementRange& range : mine_.slots[param].compute) {
        for (std::int64_t element = range.first; element < range.end(); ++element) {
          use(static_cast<std::size_t>(place++), param, element);
        }
      }
    }
  }
  template <typename Use>
  void for_synchronised(const Use& use) const {
    for (const std::size_t param : shape().params) {
      const ParamSlot& slot = mine_.slots[param];
      for (std::int64_t i = 0; i < slot.sync.num; ++i) {
        use(static_cast<std::size_t>(slot.sync_offset + i), param, slot.sync.first + i);
      }
    }
  }

  template <typename T>
  [[nodiscard]] std::vector<T> computed() const {
    std::vector<T> values(static_cast<std::size_t>(num()));
    for_computed([&](std::size_t place, std::size_t param, std::int64_t element) {
      values[place] = T(value_of(param, element));
    });
    return values;
  }

  template <typename T>
  [[nodiscard]] std::vector<T> synchronised() const {
    std::vector<T> values(static_cast<std::size_t>(num()));
    for_synchronised([&](std::size_t place, std::size_t param, std::int64_t element) {
      values[place] = T(value_of(param, element));
    });
    return values;
  }

  /// How many ranks bring a part of an element's gradient.
  [[nodiscard]] std::int64_t num_parts(std::size_t param, std::int64_t element) const {
    if (!params_[param].is_divided()) {
      return 1;  // the same on all ranks, not summed
    }
    std::int64_t parts = 0;
    for (const StageLayout& layout : layouts_) {
      for (const ElementRange& range : layout.slots[param].compute) {
        parts += element >= range.first && element < range.end() ? 1 : 0;
      }
    }
    return parts;
  }

  [[nodiscard]] std::int64_t wrong_in_sync(const std::vector<float>& got) const {
    std::int64_t wrong = 0;
    for_synchronised([&](std::size_t place, std::size_t param, std::int64_t element) {
      const auto parts = static_cast<float>(num_parts(param, element));
      wrong += got[place] == parts * value_of(param, element) ? 0 : 1;
    });
    return wrong;
  }

  [[nodiscard]] std::int64_t wrong_in_compute(const std::vector<kernels::BFloat16>& got) const {
    std::int64_t wrong = 0;
    for_computed([&](std::size_t place, std::size_t param, std::int64_t element) {
      wrong += static_cast<float>(got[place]) == value_of(param, element) ? 0 : 1;
    });
    return wrong;
  }

  /// Parameters take the ways of the gradients backwards: what a rank sends of the ones it receives
  /// of the others. (Norms only come back, and are small.)
  [[nodiscard]] std::int64_t busiest_link() const {
    std::int64_t most = 0;
    for (const BucketExchange& of_rank : exchanges_) {
      most = std::max({most, of_rank.num_gradients_sent(), of_rank.num_params_sent()});
    }
    return most;
  }

  template <typename Post>
  [[nodiscard]] ReshardTime measured(bool is_to_sync,
                                     DataType type,
                                     std::int64_t wrong,
                                     const Post& post) {
    ReshardTime result{.bucket = bucket_,
                       .is_to_sync = is_to_sync,
                       .bytes = busiest_link() * kernels::size_of(type)};
    for (const std::size_t param : shape().params) {
      result.num += params_[param].spec.num_elements();
    }
    result.wrong = sum_over_ranks(device_, tp_, wrong);
    result.time = time_posts(device_, tp_, post);
    return result;
  }

  Device& device_;
  Communicator& tp_;
  const std::vector<StageParam>& params_;
  const std::vector<StageLayout>& layouts_;
  std::size_t bucket_;
  const StageLayout& mine_;
  std::vector<BucketExchange> exchanges_;  // by rank
};

}  // namespace

std::vector<ReshardTime> time_reshard(Device& device,
                                      Communicator& tp,
                                      const ModelSpec& model,
                                      std::int64_t num_buckets) {
  const std::int64_t tp_size = tp.size();
  const std::vector<StageParam> params =
      stage_params(model, ParallelSizes{.tp = tp_size}, PpRank(0), 0);
  std::vector<StageLayout> layouts;
  for (std::int64_t rank = 0; rank < tp_size; ++rank) {
    layouts.push_back(
        make_stage_layout(params, tp_size, tp_size - 1, TpRank(rank), num_buckets, 1));
  }
  std::vector<ReshardTime> times;
  for (std::size_t bucket = 0; bucket < layouts.front().buckets.size(); ++bucket) {
    BucketBench bench(device, tp, params, layouts, bucket);
    times.push_back(bench.to_sync());
    times.push_back(bench.to_compute());
  }
  return times;
}

}  // namespace runflat::exec
