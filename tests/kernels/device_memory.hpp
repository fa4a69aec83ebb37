#pragma once

#include "kernels/cuda_error.hpp"
#include "tests/kernels/host_values.hpp"

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace runflat::tests {

/// Copies to the device. A copy from pageable memory may return before it ends, and streams that do
/// not block would not wait for it.
inline void upload(void* to, const void* from, std::size_t num_bytes) {
  kernels::check_cuda(cudaMemcpy(to, from, num_bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
  kernels::check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

class DeviceBytes {
 public:
  explicit DeviceBytes(std::int64_t size) : size_(static_cast<std::size_t>(size)) {
    kernels::check_cuda(cudaMalloc(&data_, size_), "cudaMalloc");
  }
  explicit DeviceBytes(const std::vector<std::byte>& bytes)
      : DeviceBytes(static_cast<std::int64_t>(bytes.size())) {
    write(0, bytes);
  }
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;
  DeviceBytes(DeviceBytes&& other) noexcept : data_(other.data_), size_(other.size_) {
    other.data_ = nullptr;
  }
  DeviceBytes& operator=(DeviceBytes&&) = delete;
  ~DeviceBytes() { cudaFree(data_); }

  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(data_); }
  void fill(int byte) const {
    kernels::check_cuda(cudaMemset(data_, byte, size_), "cudaMemset");
    kernels::check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
  void write(std::int64_t first, const std::vector<std::byte>& bytes) const {
    upload(data() + first, bytes.data(), bytes.size());
  }
  [[nodiscard]] std::vector<std::byte> read(std::int64_t first, std::int64_t num) const {
    std::vector<std::byte> bytes(static_cast<std::size_t>(num));
    kernels::check_cuda(
        cudaMemcpy(bytes.data(), data() + first, bytes.size(), cudaMemcpyDeviceToHost),
        "cudaMemcpy");
    return bytes;
  }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

class DeviceStream {
 public:
  DeviceStream() {
    kernels::check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
                        "cudaStreamCreate");
  }
  DeviceStream(const DeviceStream&) = delete;
  DeviceStream& operator=(const DeviceStream&) = delete;
  ~DeviceStream() { cudaStreamDestroy(stream_); }

  [[nodiscard]] cudaStream_t get() const { return stream_; }
  void finish() const {
    kernels::check_cuda(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  }

 private:
  cudaStream_t stream_ = nullptr;
};

/// Numbers in device memory as T, and on the host as the fp64 values that T can hold. They start
/// `shift` elements past a 256-byte boundary, between margins that nothing may write to.
template <typename T>
class DeviceValues {
 public:
  DeviceValues(const std::vector<double>& values, std::int64_t shift)
      : shift_(shift),
        num_(static_cast<std::int64_t>(values.size())),
        memory_((num_ + 2 * kMargin) * size_of_t() + shift * size_of_t()) {
    memory_.fill(kMarginByte);
    write(values);
  }

  void write(const std::vector<double>& values) {
    const std::vector<T> rounded = converted<T>(values);
    host = converted<double>(rounded);
    upload(data(), rounded.data(), rounded.size() * sizeof(T));
  }
  [[nodiscard]] T* data() const { return reinterpret_cast<T*>(memory_.data()) + kMargin + shift_; }
  [[nodiscard]] std::vector<T> read_raw() const {
    std::vector<T> out(static_cast<std::size_t>(num_));
    kernels::check_cuda(
        cudaMemcpy(out.data(), data(), out.size() * sizeof(T), cudaMemcpyDeviceToHost),
        "cudaMemcpy");
    return out;
  }
  [[nodiscard]] std::vector<double> read() const { return converted<double>(read_raw()); }
  /// Whether nothing was written before the first and after the last element.
  [[nodiscard]] bool margins_intact() const {
    const std::int64_t before = (kMargin + shift_) * size_of_t();
    for (const auto& margin : {memory_.read(0, before),
                               memory_.read(before + num_ * size_of_t(), kMargin * size_of_t())}) {
      for (const std::byte byte : margin) {
        if (byte != std::byte{kMarginByte}) {
          return false;
        }
      }
    }
    return true;
  }

  std::vector<double> host;  ///< what was written last

 private:
  static constexpr std::int64_t kMargin = 256;
  static constexpr unsigned char kMarginByte = 0x5a;
  static std::int64_t size_of_t() { return static_cast<std::int64_t>(sizeof(T)); }

  std::int64_t shift_;
  std::int64_t num_;
  DeviceBytes memory_;
};

/// int32 numbers on both sides.
struct DeviceIds {
  std::vector<std::int32_t> host;
  DeviceBytes device;

  explicit DeviceIds(const std::vector<std::int32_t>& ids)
      : host(ids), device(static_cast<std::int64_t>(ids.size()) * 4) {
    upload(device.data(), ids.data(), ids.size() * 4);
  }
  [[nodiscard]] const std::int32_t* data() const {
    return reinterpret_cast<const std::int32_t*>(device.data());
  }
};

/// How many elements are further from the expected ones than `relative` of these plus `absolute`;
/// NaN is.
[[nodiscard]] inline std::int64_t num_wrong(const std::vector<double>& got,
                                            const std::vector<double>& expected,
                                            double relative,
                                            double absolute) {
  std::int64_t wrong = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double allowed = relative * std::abs(expected.at(i)) + absolute;
    wrong += std::abs(got.at(i) - expected.at(i)) <= allowed ? 0 : 1;
  }
  return wrong;
}

/// Of one rounding to T, with what arithmetic in fp32 adds to it.
template <typename T>
inline constexpr double kRounding = sizeof(T) == 2 ? 0x1p-8 * 1.05 : 2e-6;
/// An absolute error of arithmetic in fp32 and fast exponentials on numbers near 1.
template <typename T>
inline constexpr double kNoise = sizeof(T) == 2 ? 2e-4 : 4e-6;

template <typename T>
inline constexpr kernels::DataType kTypeOf = sizeof(T) == 2 ? kernels::DataType::bf16
                                                            : kernels::DataType::fp32;

}  // namespace runflat::tests
