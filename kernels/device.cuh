#pragma once

#include "kernels/cuda_error.hpp"
#include "kernels/data_type.hpp"

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <stdexcept>
#include <utility>

namespace runflat::kernels {

/// Calls f<T>() with the device's type of a DataType that device kernels know.
template <typename F>
void with_device_type(DataType type, F&& f) {
  switch (type) {
    case DataType::fp32:
      return std::forward<F>(f).template operator()<float>();
    case DataType::bf16:
      return std::forward<F>(f).template operator()<__nv_bfloat16>();
    case DataType::fp64:
    case DataType::int32:
    case DataType::int64:
      break;
  }
  throw std::invalid_argument("kernels: elements on the device must be fp32 or bf16");
}

template <int kBytes>
struct WordOf {
  using Type = uint4;
};
template <>
struct WordOf<8> {
  using Type = uint2;
};
template <>
struct WordOf<4> {
  using Type = std::uint32_t;
};
template <>
struct WordOf<2> {
  using Type = std::uint16_t;
};

/// kNum consecutive elements in registers, moved 16 bytes at a time where there are as many. Two
/// elements are moved one by one: gate and up of a column, at any alignment.
template <typename T, int kNum>
struct Pack {
  static constexpr int kBytes = kNum * static_cast<int>(sizeof(T));
  using Word = typename WordOf<kNum == 2 ? static_cast<int>(sizeof(T)) : kBytes>::Type;
  static constexpr int kWords = kBytes / static_cast<int>(sizeof(Word));

  Word words[kWords];
};

/// Elements of the widest access.
template <typename T>
constexpr int kPackSize = 16 / static_cast<int>(sizeof(T));

/// Reads a pack; `from` is aligned to its words.
template <int kNum, typename T>
__device__ __forceinline__ Pack<T, kNum> load_pack(const T* from) {
  Pack<T, kNum> out;
#pragma unroll
  for (int i = 0; i < Pack<T, kNum>::kWords; ++i) {
    out.words[i] = reinterpret_cast<const typename Pack<T, kNum>::Word*>(from)[i];
  }
  return out;
}

template <typename T, int kNum>
__device__ __forceinline__ void store_pack(T* to, const Pack<T, kNum>& pack) {
#pragma unroll
  for (int i = 0; i < Pack<T, kNum>::kWords; ++i) {
    reinterpret_cast<typename Pack<T, kNum>::Word*>(to)[i] = pack.words[i];
  }
}

template <typename T, int kNum>
struct Floats {
  float values[kNum];

  Floats() = default;
  __device__ __forceinline__ explicit Floats(const Pack<T, kNum>& pack) {
    T elements[kNum];
    memcpy(elements, pack.words, sizeof(elements));
#pragma unroll
    for (int i = 0; i < kNum; ++i) {
      values[i] = static_cast<float>(elements[i]);
    }
  }
  __device__ __forceinline__ float& operator[](int i) {
    return values[i];
  }
  __device__ __forceinline__ float operator[](int i) const {
    return values[i];
  }

  /// Rounded to T.
  [[nodiscard]] __device__ __forceinline__ Pack<T, kNum> pack() const {
    T elements[kNum];
#pragma unroll
    for (int i = 0; i < kNum; ++i) {
      elements[i] = static_cast<T>(values[i]);
    }
    Pack<T, kNum> out;
    memcpy(out.words, elements, sizeof(elements));
    return out;
  }
};

/// e^x to the precision of T: two instructions where the result is rounded to bf16.
template <typename T>
__device__ __forceinline__ float exp_for(float x) {
  return sizeof(T) == 2 ? __expf(x) : expf(x);
}

template <typename T>
__device__ __forceinline__ float divide_for(float x, float y) {
  return sizeof(T) == 2 ? __fdividef(x, y) : x / y;
}

/// 1 / (1 + e^-x), without an infinity inside a fast division.
template <typename T>
__device__ __forceinline__ float sigmoid(float x) {
  return divide_for<T>(1.0F, 1.0F + exp_for<T>(fminf(-x, 80.0F)));
}

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xffffffffU, value, distance);
  }
  return value;
}

constexpr int kWarp = 32;
constexpr int kMaxWarps = 32;

/// The block's sums of kNum values, in every thread, in a fixed order. `shared` may be used again
/// after the next barrier only.
template <int kNum>
__device__ __forceinline__ void block_sum(float (&values)[kNum], float (*shared)[kMaxWarps]) {
#pragma unroll
  for (int i = 0; i < kNum; ++i) {
    values[i] = warp_sum(values[i]);
    if (threadIdx.x % kWarp == 0) {
      shared[i][threadIdx.x / kWarp] = values[i];
    }
  }
  __syncthreads();
  const int num_warps = static_cast<int>(blockDim.x) / kWarp;
#pragma unroll
  for (int i = 0; i < kNum; ++i) {
    values[i] = 0.0F;
    for (int warp = 0; warp < num_warps; ++warp) {
      values[i] += shared[i][warp];
    }
  }
}

/// Whether rows of `cols` elements can be accessed 16 bytes at a time at all these addresses;
/// nullptr is any alignment.
template <typename T>
[[nodiscard]] bool packs_fit(std::int64_t cols, std::initializer_list<const void*> addresses) {
  auto bits = static_cast<std::uintptr_t>(cols) * sizeof(T);
  for (const void* address : addresses) {
    bits |= reinterpret_cast<std::uintptr_t>(address);
  }
  return bits % 16 == 0;
}

[[nodiscard]] constexpr std::int64_t ceil_div(std::int64_t num, std::int64_t size) {
  return (num + size - 1) / size;
}

inline void check_launch(const char* kernel) {
  check_cuda(cudaGetLastError(), kernel);
}

/// Launches a kernel that starts while the one before it still runs, and waits for its end by
/// cudaGridDependencySynchronize(): no time passes between the two.
template <typename... Parameters, typename... Arguments>
void launch_early(
    void (*kernel)(Parameters...), dim3 grid, dim3 block, Stream stream, const Arguments&... args) {
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = 1;
  check_cuda(cudaLaunchKernelEx(&config, kernel, args...), "cudaLaunchKernelEx");
}

}  // namespace runflat::kernels
