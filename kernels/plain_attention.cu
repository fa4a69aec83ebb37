// A warp takes one query (forward, gradient of q) or one key (gradients of k and v) and walks over
// the positions on the other side; its lanes share the head's elements. No probabilities are kept,
// no two warps write to one place.

#include "kernels/device.cuh"
#include "kernels/plain_attention.hpp"

#include <string>

namespace runflat::kernels {
namespace {

constexpr int kMaxHeadSize = 256;
constexpr int kPerLane = kMaxHeadSize / kWarp;
constexpr int kWarpsPerBlock = 4;

/// The lanes' shares of one head at one position: elements lane, lane + 32, ...
struct HeadVector {
  float values[kPerLane] = {};

  template <typename T>
  static __device__ HeadVector load(const void* tensor, std::int64_t first, std::int64_t size) {
    HeadVector out;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int at = static_cast<int>(threadIdx.x) + i * kWarp;
      out.values[i] =
          at < size ? static_cast<float>(static_cast<const T*>(tensor)[first + at]) : 0.0F;
    }
    return out;
  }
  template <typename T>
  __device__ void store(void* tensor, std::int64_t first, std::int64_t size) const {
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int at = static_cast<int>(threadIdx.x) + i * kWarp;
      if (at < size) {
        static_cast<T*>(tensor)[first + at] = static_cast<T>(values[i]);
      }
    }
  }
  [[nodiscard]] __device__ float dot(const HeadVector& other) const {
    float sum = 0.0F;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      sum += values[i] * other.values[i];
    }
    return warp_sum(sum);
  }
  /// *this = keep * *this + factor * other.
  __device__ void add(float keep, float factor, const HeadVector& other) {
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      values[i] = keep * values[i] + factor * other.values[i];
    }
  }
};

/// Which position of which head of which sequence a warp works on.
struct WarpPlace {
  std::int64_t position;
  std::int64_t sequence;
  std::int64_t head;
  bool inside;

  __device__ WarpPlace(const AttentionShape& shape, std::int64_t heads) {
    const std::int64_t index = std::int64_t{blockIdx.x} * kWarpsPerBlock + threadIdx.y;
    head = index % heads;
    sequence = index / heads % shape.batch_size;
    position = index / heads / shape.batch_size;
    inside = position < shape.seq_length;
  }
};

/// The first element of a head in a [s, b, heads, head_size] tensor.
__device__ std::int64_t start_of(const AttentionShape& shape,
                                 std::int64_t position,
                                 std::int64_t sequence,
                                 std::int64_t head,
                                 std::int64_t heads) {
  return ((position * shape.batch_size + sequence) * heads + head) * shape.head_size;
}

template <typename T>
__global__ void __launch_bounds__(kWarp* kWarpsPerBlock)
    attention_kernel(const AttentionForwardArgs args) {
  const AttentionShape& shape = args.shape;
  const WarpPlace at(shape, shape.heads);
  if (!at.inside) {
    return;
  }
  const std::int64_t group = at.head / (shape.heads / shape.groups);
  const std::int64_t own = start_of(shape, at.position, at.sequence, at.head, shape.heads);
  const auto q = HeadVector::load<T>(args.q, own, shape.head_size);
  HeadVector out;
  float max = -INFINITY;
  float sum = 0.0F;
  for (std::int64_t j = 0; j <= at.position; ++j) {
    const std::int64_t other = start_of(shape, j, at.sequence, group, shape.groups);
    const float score = static_cast<float>(shape.scale) *
                        q.dot(HeadVector::load<T>(args.k, other, shape.head_size));
    const float new_max = fmaxf(max, score);
    const float keep = expf(max - new_max);
    const float weight = expf(score - new_max);
    out.add(keep, weight, HeadVector::load<T>(args.v, other, shape.head_size));
    sum = keep * sum + weight;
    max = new_max;
  }
  out.add(1.0F / sum, 0.0F, HeadVector{});
  out.store<T>(args.out, own, shape.head_size);
  if (threadIdx.x == 0) {
    static_cast<float*>(
        args.lse)[(at.sequence * shape.heads + at.head) * shape.seq_length + at.position] =
        max + logf(sum);
  }
}

/// A query's part in backward: its vectors, its lse, and dout . out.
template <typename T>
struct Query {
  HeadVector q;
  HeadVector dout;
  float lse;
  float mean;

  __device__ Query(const AttentionBackwardArgs& args,
                   std::int64_t position,
                   std::int64_t sequence,
                   std::int64_t head) {
    const AttentionShape& shape = args.shape;
    const std::int64_t own = start_of(shape, position, sequence, head, shape.heads);
    q = HeadVector::load<T>(args.q, own, shape.head_size);
    dout = HeadVector::load<T>(args.dout, own, shape.head_size);
    mean = dout.dot(HeadVector::load<T>(args.out, own, shape.head_size));
    lse = static_cast<const float*>(
        args.lse)[(sequence * shape.heads + head) * shape.seq_length + position];
  }

  /// The probability of a key, and the gradient of q . k.
  struct Grads {
    float weight;
    float dscore;
  };
  [[nodiscard]] __device__ Grads grads(const HeadVector& k,
                                       const HeadVector& v,
                                       float scale) const {
    const float weight = expf(scale * q.dot(k) - lse);
    return {weight, scale * weight * (dout.dot(v) - mean)};
  }
};

template <typename T>
__global__ void __launch_bounds__(kWarp* kWarpsPerBlock)
    query_grad_kernel(const AttentionBackwardArgs args) {
  const AttentionShape& shape = args.shape;
  const WarpPlace at(shape, shape.heads);
  if (!at.inside) {
    return;
  }
  const std::int64_t group = at.head / (shape.heads / shape.groups);
  const Query<T> query(args, at.position, at.sequence, at.head);
  HeadVector dq;
  for (std::int64_t j = 0; j <= at.position; ++j) {
    const std::int64_t other = start_of(shape, j, at.sequence, group, shape.groups);
    const auto k = HeadVector::load<T>(args.k, other, shape.head_size);
    const auto v = HeadVector::load<T>(args.v, other, shape.head_size);
    dq.add(1.0F, query.grads(k, v, static_cast<float>(shape.scale)).dscore, k);
  }
  const std::int64_t own = start_of(shape, at.position, at.sequence, at.head, shape.heads);
  dq.store<T>(args.dq, own, shape.head_size);
}

template <typename T>
__global__ void __launch_bounds__(kWarp* kWarpsPerBlock)
    key_grad_kernel(const AttentionBackwardArgs args) {
  const AttentionShape& shape = args.shape;
  const WarpPlace at(shape, shape.groups);
  if (!at.inside) {
    return;
  }
  const std::int64_t own = start_of(shape, at.position, at.sequence, at.head, shape.groups);
  const auto k = HeadVector::load<T>(args.k, own, shape.head_size);
  const auto v = HeadVector::load<T>(args.v, own, shape.head_size);
  HeadVector dk;
  HeadVector dv;
  const std::int64_t heads_per_group = shape.heads / shape.groups;
  for (std::int64_t head = at.head * heads_per_group; head < (at.head + 1) * heads_per_group;
       ++head) {
    for (std::int64_t i = at.position; i < shape.seq_length; ++i) {
      const Query<T> query(args, i, at.sequence, head);
      const auto grads = query.grads(k, v, static_cast<float>(shape.scale));
      dk.add(1.0F, grads.dscore, query.q);
      dv.add(1.0F, grads.weight, query.dout);
    }
  }
  dk.store<T>(args.dk, own, shape.head_size);
  dv.store<T>(args.dv, own, shape.head_size);
}

unsigned blocks_for(const AttentionShape& shape, std::int64_t heads) {
  if (shape.head_size > kMaxHeadSize) {
    throw std::invalid_argument("attention: head size " + std::to_string(shape.head_size) +
                                " is above " + std::to_string(kMaxHeadSize));
  }
  return static_cast<unsigned>(
      ceil_div(shape.seq_length * shape.batch_size * heads, kWarpsPerBlock));
}

const dim3 kBlock(kWarp, kWarpsPerBlock);

}  // namespace

void plain_attention_forward(const AttentionForwardArgs& args, Stream stream) {
  with_device_type(args.shape.type, [&]<typename T>() {
    attention_kernel<T><<<blocks_for(args.shape, args.shape.heads), kBlock, 0, stream>>>(args);
  });
  check_launch("attention_kernel");
}

void plain_attention_backward(const AttentionBackwardArgs& args, Stream stream) {
  with_device_type(args.shape.type, [&]<typename T>() {
    query_grad_kernel<T><<<blocks_for(args.shape, args.shape.heads), kBlock, 0, stream>>>(args);
    key_grad_kernel<T><<<blocks_for(args.shape, args.shape.groups), kBlock, 0, stream>>>(args);
  });
  check_launch("attention backward kernels");
}

}  // namespace runflat::kernels
