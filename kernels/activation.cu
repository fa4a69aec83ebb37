// Gated and plain activations. Backward works out the forward again from x, which is cheaper than
// keeping its output: the kernels move bytes at the device's copy rate, with arithmetic to spare.

#include "kernels/activation.hpp"
#include "kernels/elementwise.cuh"

namespace runflat::kernels {
namespace {

template <typename T, int kNum, typename Args>
__device__ __forceinline__ Floats<T, kNum> with_bias(const Args& args,
                                                     std::int64_t first,
                                                     std::int64_t cols,
                                                     const Pack<T, kNum>& x) {
  Floats<T, kNum> out(x);
  if (args.bias != nullptr) {
    const T* bias = static_cast<const T*>(args.bias) + column_of(first, cols);
    const Floats<T, kNum> added(load_pack<kNum>(bias));
#pragma unroll
    for (int i = 0; i < kNum; ++i) {
      out[i] += added[i];
    }
  }
  return out;
}

// Gates and ups of kNum columns are one pack of 2 kNum: gate of column i at 2 i, up at 2 i + 1.
template <typename T, int size>
struct SwigluForward {
  static constexpr int kNum = size;
  static constexpr int kUnroll = 4;
  using Loaded = Pack<T, 2 * kNum>;
  SwigluArgs args;

  __device__ __forceinline__ Loaded load(std::int64_t first) const {
    return load_pack<2 * kNum>(static_cast<const T*>(args.x) + 2 * first);
  }
  __device__ __forceinline__ void store(std::int64_t first, const Loaded& loaded) const {
    const Floats<T, 2 * kNum> x = with_bias(args, 2 * first, 2 * args.cols, loaded);
    Floats<T, kNum> y;
#pragma unroll
    for (int i = 0; i < kNum; ++i) {
      y[i] = x[2 * i] * sigmoid<T>(x[2 * i]) * x[2 * i + 1];
    }
    store_pack(static_cast<T*>(args.y) + first, y.pack());
  }
};

template <typename T, int size>
struct SwigluBackward {
  static constexpr int kNum = size;
  static constexpr int kUnroll = 2;
  struct Loaded {
    Pack<T, 2 * kNum> x;
    Pack<T, kNum> dy;
  };
  SwigluArgs args;

  __device__ __forceinline__ Loaded load(std::int64_t first) const {
    return {load_pack<2 * kNum>(static_cast<const T*>(args.x) + 2 * first),
            load_pack<kNum>(static_cast<const T*>(args.dy) + first)};
  }
  __device__ __forceinline__ void store(std::int64_t first, const Loaded& loaded) const {
    const Floats<T, 2 * kNum> x = with_bias(args, 2 * first, 2 * args.cols, loaded.x);
    const Floats<T, kNum> dy(loaded.dy);
    Floats<T, kNum> y;
    Floats<T, 2 * kNum> dx;
#pragma unroll
    for (int i = 0; i < kNum; ++i) {
      const float gate = x[2 * i];
      const float up = x[2 * i + 1];
      const float s = sigmoid<T>(gate);
      y[i] = gate * s * up;
      dx[2 * i] = dy[i] * up * s * (1.0F + gate * (1.0F - s));
      dx[2 * i + 1] = dy[i] * gate * s;
    }
    store_pack(static_cast<T*>(args.dx) + 2 * first, dx.pack());
    if (args.y != nullptr) {
      store_pack(static_cast<T*>(args.y) + first, y.pack());
    }
  }
};

/// gelu(z) = z p with p = (1 + tanh(u)) / 2 = sigmoid(2 u), which loses no digits where tanh nears
/// -1; p' = 2 p (1 - p) u'.
template <typename T>
struct Gelu {
  float z;
  float p;

  static constexpr float kScale = 0.7978845608028654F;  // sqrt(2 / pi)
  static constexpr float kCubic = 0.044715F;

  __device__ __forceinline__ explicit Gelu(float at)
      : z(at), p(sigmoid<T>(2.0F * kScale * (at + kCubic * at * at * at))) {}
  [[nodiscard]] __device__ __forceinline__ float value() const { return z * p; }
  [[nodiscard]] __device__ __forceinline__ float slope() const {
    return p + z * 2.0F * p * (1.0F - p) * kScale * (1.0F + 3.0F * kCubic * z * z);
  }
};

template <typename T, int size>
struct GeluForward {
  static constexpr int kNum = size;
  static constexpr int kUnroll = 4;
  using Loaded = Pack<T, kNum>;
  GeluArgs args;

  __device__ __forceinline__ Loaded load(std::int64_t first) const {
    return load_pack<kNum>(static_cast<const T*>(args.x) + first);
  }
  __device__ __forceinline__ void store(std::int64_t first, const Loaded& loaded) const {
    Floats<T, kNum> y = with_bias(args, first, args.cols, loaded);
#pragma unroll
    for (int i = 0; i < kNum; ++i) {
      y[i] = Gelu<T>(y[i]).value();
    }
    store_pack(static_cast<T*>(args.y) + first, y.pack());
  }
};

template <typename T, int size>
struct GeluBackward {
  static constexpr int kNum = size;
  static constexpr int kUnroll = 2;
  struct Loaded {
    Pack<T, kNum> x;
    Pack<T, kNum> dy;
  };
  GeluArgs args;

  __device__ __forceinline__ Loaded load(std::int64_t first) const {
    return {load_pack<kNum>(static_cast<const T*>(args.x) + first),
            load_pack<kNum>(static_cast<const T*>(args.dy) + first)};
  }
  __device__ __forceinline__ void store(std::int64_t first, const Loaded& loaded) const {
    const Floats<T, kNum> z = with_bias(args, first, args.cols, loaded.x);
    const Floats<T, kNum> dy(loaded.dy);
    Floats<T, kNum> y;
    Floats<T, kNum> dx;
#pragma unroll
    for (int i = 0; i < kNum; ++i) {
      const Gelu<T> gelu(z[i]);
      y[i] = gelu.value();
      dx[i] = dy[i] * gelu.slope();
    }
    store_pack(static_cast<T*>(args.dx) + first, dx.pack());
    if (args.y != nullptr) {
      store_pack(static_cast<T*>(args.y) + first, y.pack());
    }
  }
};

/// An element of y is made of `kInputs` elements of x, whose pack is 16 bytes.
template <template <typename, int> class Op, int kInputs, typename Args>
void run(const Args& args, const char* name, Stream stream) {
  with_device_type(args.type, [&]<typename T>() {
    // Without a bias columns do not matter: any number of elements is whole packs and a tail.
    const std::int64_t cols = args.bias == nullptr ? kPackSize<T> : args.cols;
    const bool aligned = packs_fit<T>(cols, {args.x, args.bias, args.dy, args.y, args.dx});
    run_elementwise<Op, T, kPackSize<T> / kInputs>(
        args, args.rows * args.cols, aligned, name, stream);
  });
}

}  // namespace

void swiglu_forward(const SwigluArgs& args, Stream stream) {
  run<SwigluForward, 2>(args, "swiglu_forward", stream);
}

void swiglu_backward(const SwigluArgs& args, Stream stream) {
  run<SwigluBackward, 2>(args, "swiglu_backward", stream);
}

void gelu_forward(const GeluArgs& args, Stream stream) {
  run<GeluForward, 1>(args, "gelu_forward", stream);
}

void gelu_backward(const GeluArgs& args, Stream stream) {
  run<GeluBackward, 1>(args, "gelu_backward", stream);
}

}  // namespace runflat::kernels
