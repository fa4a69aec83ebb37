#include "kernels/host_dispatch.hpp"
#include "kernels/qkv_split.hpp"

#include <algorithm>

namespace runflat::kernels {
namespace {

/// The cosines and sines of a token's position; no RoPE is the rotation by 0.
template <typename T>
struct Rotation {
  using A = Accumulate<T>;

  Rotation(const QkvSplitArgs& args, std::int64_t token) : half(args.head_size / 2) {
    const std::int64_t first = token / args.batch_size * half;
    if (args.cos != nullptr) {
      cos = static_cast<const A*>(args.cos) + first;
      sin = static_cast<const A*>(args.sin) + first;
    }
  }

  /// dst = src turned forwards (direction 1) or back (-1).
  void turn(const T* src, T* dst, A direction) const {
    if (cos == nullptr) {
      std::copy_n(src, 2 * half, dst);
      return;
    }
    for (std::int64_t i = 0; i < half; ++i) {
      const A a = load(src[i]);
      const A b = load(src[i + half]);
      dst[i] = static_cast<T>(a * cos[i] - b * direction * sin[i]);
      dst[i + half] = static_cast<T>(b * cos[i] + a * direction * sin[i]);
    }
  }

  std::int64_t half;
  const A* cos = nullptr;
  const A* sin = nullptr;
};

/// The parts of one kv-group of one token.
template <typename T>
struct Group {
  Group(const QkvSplitArgs& args, std::int64_t token, std::int64_t group) {
    const std::int64_t index = token * args.groups + group;
    queries = static_cast<T*>(args.qkv) + index * (args.heads_per_group + 2) * args.head_size;
    key = queries + args.heads_per_group * args.head_size;
    value = key + args.head_size;
    q = static_cast<T*>(args.q) + index * args.num_heads * args.head_size;
    k = static_cast<T*>(args.k) + index * args.head_size;
    v = static_cast<T*>(args.v) + index * args.head_size;
  }

  T* queries;  // all heads of the group, in qkv
  T* key;
  T* value;
  T* q;  // this rank's heads
  T* k;
  T* v;
};

template <typename T, typename F>
void for_each_group(const QkvSplitArgs& args, F f) {
  for (std::int64_t token = 0; token < args.tokens; ++token) {
    const Rotation<T> rotation(args, token);
    for (std::int64_t group = 0; group < args.groups; ++group) {
      f(Group<T>(args, token, group), rotation);
    }
  }
}

template <typename T>
void split(const QkvSplitArgs& args) {
  const std::int64_t size = args.head_size;
  for_each_group<T>(args, [&](const Group<T>& group, const Rotation<T>& rotation) {
    for (std::int64_t head = 0; head < args.num_heads; ++head) {
      rotation.turn(group.queries + (args.first_head + head) * size, group.q + head * size, 1);
    }
    rotation.turn(group.key, group.k, 1);
    std::copy_n(group.value, size, group.v);
  });
}

template <typename T>
void merge(const QkvSplitArgs& args) {
  const std::int64_t size = args.head_size;
  for_each_group<T>(args, [&](const Group<T>& group, const Rotation<T>& rotation) {
    std::fill_n(group.queries, args.heads_per_group * size, T{});
    for (std::int64_t head = 0; head < args.num_heads; ++head) {
      rotation.turn(group.q + head * size, group.queries + (args.first_head + head) * size, -1);
    }
    rotation.turn(group.k, group.key, -1);
    std::copy_n(group.v, size, group.value);
  });
}

}  // namespace

void qkv_split_reference(const QkvSplitArgs& args) {
  with_host_type(args.type, [&]<typename T>() { split<T>(args); });
}

void qkv_merge_reference(const QkvSplitArgs& args) {
  with_host_type(args.type, [&]<typename T>() { merge<T>(args); });
}

}  // namespace runflat::kernels
