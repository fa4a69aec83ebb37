// A block takes a token: its work items are the pairs of packs, half a head apart, that one turn
// needs, of all query heads, keys and values of all groups. Values are copied.

#include "kernels/device.cuh"
#include "kernels/qkv_split.hpp"

namespace runflat::kernels {
namespace {

constexpr int kThreads = 128;

/// Where an item's two packs are on both sides; q, k or v is nullptr for a head that is not used.
template <typename T>
struct Item {
  T* packed;  // in qkv
  T* apart;   // in q, k or v
  int lane;   // first element of the lower pack within the half head
  bool turns;
};

template <typename T, int kNum>
__device__ __forceinline__ Item<T> item_of(const QkvSplitArgs& args, int index, int lanes) {
  const int slots = static_cast<int>(args.heads_per_group) + 2;
  const int head = index / lanes;
  const int group = head / slots;
  const int slot = head - group * slots;
  const std::int64_t size = args.head_size;
  const std::int64_t token_group = std::int64_t{blockIdx.x} * args.groups + group;
  Item<T> out;
  out.lane = (index - head * lanes) * kNum;
  out.packed = static_cast<T*>(args.qkv) + (token_group * slots + slot) * size + out.lane;
  out.turns = args.cos != nullptr && slot != slots - 1;
  if (slot == slots - 1) {
    out.apart = static_cast<T*>(args.v) + token_group * size + out.lane;
  } else if (slot == slots - 2) {
    out.apart = static_cast<T*>(args.k) + token_group * size + out.lane;
  } else {
    const std::int64_t used = slot - args.first_head;
    out.apart =
        used >= 0 && used < args.num_heads
            ? static_cast<T*>(args.q) + (token_group * args.num_heads + used) * size + out.lane
            : nullptr;
  }
  return out;
}

/// (a, b) -> (a cos - b sin, b cos + a sin), back with direction -1.
template <typename T, int kNum>
__device__ __forceinline__ void turn(
    const QkvSplitArgs& args, int lane, float direction, Pack<T, kNum>& a, Pack<T, kNum>& b) {
  const std::int64_t first =
      std::int64_t{blockIdx.x} / args.batch_size * (args.head_size / 2) + lane;
  const Floats<float, kNum> cos(load_pack<kNum>(static_cast<const float*>(args.cos) + first));
  const Floats<float, kNum> sin(load_pack<kNum>(static_cast<const float*>(args.sin) + first));
  Floats<T, kNum> low(a);
  Floats<T, kNum> high(b);
#pragma unroll
  for (int i = 0; i < kNum; ++i) {
    const float from_low = low[i];
    const float from_high = high[i];
    low[i] = from_low * cos[i] - from_high * direction * sin[i];
    high[i] = from_high * cos[i] + from_low * direction * sin[i];
  }
  a = low.pack();
  b = high.pack();
}

template <typename T, int kNum, bool kMerge>
__global__ void __launch_bounds__(kThreads) qkv_kernel(const QkvSplitArgs args) {
  const int half = static_cast<int>(args.head_size / 2);
  const int lanes = half / kNum;
  const int num_items = lanes * static_cast<int>(args.groups * (args.heads_per_group + 2));
  for (int index = static_cast<int>(threadIdx.x); index < num_items; index += kThreads) {
    const Item<T> item = item_of<T, kNum>(args, index, lanes);
    const T* from = kMerge ? item.apart : item.packed;
    T* to = kMerge ? item.packed : item.apart;
    Pack<T, kNum> a = {};
    Pack<T, kNum> b = {};
    if (from != nullptr && to != nullptr) {
      a = load_pack<kNum>(from);
      b = load_pack<kNum>(from + half);
      if (item.turns) {
        turn<T, kNum>(args, item.lane, kMerge ? -1.0F : 1.0F, a, b);
      }
    }
    if (to != nullptr) {
      store_pack(to, a);
      store_pack(to + half, b);
    }
  }
}

template <bool kMerge>
void run(const QkvSplitArgs& args, Stream stream) {
  if (args.tokens == 0) {
    return;
  }
  const auto blocks = static_cast<unsigned>(args.tokens);
  with_device_type(args.type, [&]<typename T>() {
    const bool tables_fit = packs_fit<float>(args.head_size / 2, {args.cos, args.sin});
    if (tables_fit && packs_fit<T>(args.head_size / 2, {args.qkv, args.q, args.k, args.v})) {
      qkv_kernel<T, kPackSize<T>, kMerge><<<blocks, kThreads, 0, stream>>>(args);
    } else {
      qkv_kernel<T, 1, kMerge><<<blocks, kThreads, 0, stream>>>(args);
    }
  });
  check_launch(kMerge ? "qkv_merge" : "qkv_split");
}

}  // namespace

void qkv_split(const QkvSplitArgs& args, Stream stream) {
  run<false>(args, stream);
}

void qkv_merge(const QkvSplitArgs& args, Stream stream) {
  run<true>(args, stream);
}

}  // namespace runflat::kernels
