#include "kernels/cross_entropy.hpp"
#include "kernels/host_dispatch.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace runflat::kernels {
namespace {

/// A row's statistics: over one rank's columns, or over all.
template <typename A>
struct Stats {
  A max = -std::numeric_limits<A>::infinity();
  A sum = 0;     ///< of exp(logit - max)
  A target = 0;  ///< the target's logit
};

template <typename T>
Stats<Accumulate<T>> stats_of(const T* logits, std::int64_t cols, std::int64_t target) {
  Stats<Accumulate<T>> out;
  for (std::int64_t col = 0; col < cols; ++col) {
    out.max = std::max(out.max, load(logits[col]));
  }
  double sum = 0;  // a vocabulary is long
  for (std::int64_t col = 0; col < cols && !std::isinf(out.max); ++col) {
    sum += std::exp(load(logits[col]) - out.max);
  }
  out.sum = static_cast<Accumulate<T>>(sum);
  out.target = target < 0 ? 0 : load(logits[target]);
  return out;
}

/// Of all ranks together; `stats` is [num_ranks, rows, 3].
template <typename A>
Stats<A> merged(const A* stats, std::int64_t num_ranks, std::int64_t rows, std::int64_t row) {
  const auto of_rank = [&](std::int64_t rank) {
    const A* triple = stats + (rank * rows + row) * kCrossEntropyStats;
    return Stats<A>{triple[0], triple[1], triple[2]};
  };
  Stats<A> out;
  for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
    out.max = std::max(out.max, of_rank(rank).max);
  }
  for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
    const Stats<A> part = of_rank(rank);
    out.sum += part.sum > 0 ? part.sum * std::exp(part.max - out.max) : part.sum;
    out.target += part.target;
  }
  return out;
}

template <typename T>
void stats(const CrossEntropyStatsArgs& args) {
  using A = Accumulate<T>;
  for (std::int64_t row = 0; row < args.rows; ++row) {
    const T* logits = static_cast<const T*>(args.logits) + row * args.cols;
    const Stats<A> out = stats_of(logits, args.cols, args.local_row[args.targets[row]]);
    A* triple = static_cast<A*>(args.stats) + row * kCrossEntropyStats;
    triple[0] = out.max;
    triple[1] = out.sum;
    triple[2] = out.target;
  }
}

template <typename T>
void backward(const CrossEntropyBackwardArgs& args) {
  using A = Accumulate<T>;
  for (std::int64_t row = 0; row < args.rows; ++row) {
    const Stats<A> all = merged(static_cast<const A*>(args.stats), args.num_ranks, args.rows, row);
    const A mask = args.loss_mask[row];
    static_cast<A*>(args.losses)[row] = mask * (all.max - all.target + std::log(all.sum));
    T* logits = static_cast<T*>(args.logits) + row * args.cols;
    const std::int64_t target = args.local_row[args.targets[row]];
    for (std::int64_t col = 0; col < args.cols; ++col) {
      const A softmax = std::exp(load(logits[col]) - all.max) / all.sum;
      logits[col] = static_cast<T>(mask * (col == target ? softmax - 1 : softmax));
    }
  }
}

}  // namespace

void cross_entropy_stats_reference(const CrossEntropyStatsArgs& args) {
  with_host_type(args.type, [&]<typename T>() { stats<T>(args); });
}

void cross_entropy_backward_reference(const CrossEntropyBackwardArgs& args) {
  with_host_type(args.type, [&]<typename T>() { backward<T>(args); });
}

}  // namespace runflat::kernels
