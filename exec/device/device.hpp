#pragma once

#include "kernels/activation.hpp"
#include "kernels/attention.hpp"
#include "kernels/cross_entropy.hpp"
#include "kernels/data_type.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/embedding.hpp"
#include "kernels/gemm.hpp"
#include "kernels/norm.hpp"
#include "kernels/optimizer.hpp"
#include "kernels/qkv_split.hpp"
#include "kernels/random_normal.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace runflat::exec {

using kernels::DataType;

class Device;

/// A moment in a device's work, numbered as marked.
using Mark = std::int64_t;

/// Memory of a device, freed with it.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device& device, void* data, std::int64_t bytes)
      : device_(&device), data_(data), bytes_(bytes) {}
  Buffer(Buffer&& other) noexcept
      : device_(std::exchange(other.device_, nullptr)),
        data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Buffer();

  [[nodiscard]] Device& device() const { return *device_; }
  [[nodiscard]] void* data() const { return data_; }
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }
  /// The address `bytes` after the start.
  [[nodiscard]] void* at(std::int64_t bytes) const {
    return static_cast<std::byte*>(data_) + bytes;
  }

 private:
  Device* device_ = nullptr;
  void* data_ = nullptr;
  std::int64_t bytes_ = 0;
};

/// Memory and the operations on it: host memory at once, or a GPU's in the order of its compute
/// stream. Workspaces are the device's own. Operations and arguments are those of kernels/.
class Device {
 public:
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  virtual ~Device() = default;

  /// Zeroed, aligned to 256 bytes. Not to be called within a step. OutOfMemory where it is full.
  [[nodiscard]] virtual Buffer allocate(std::int64_t bytes) = 0;
  virtual void free(void* data) noexcept = 0;

  virtual void zero(void* data, std::int64_t bytes) = 0;
  virtual void copy(void* dst, const void* src, std::int64_t bytes) = 0;
  /// From host memory that is free when it returns.
  virtual void copy_in(void* dst, const void* src, std::int64_t bytes) = 0;
  /// To host memory; waits for what was queued before.
  virtual void copy_out(void* dst, const void* src, std::int64_t bytes) = 0;
  virtual void synchronize() = 0;
  /// Whether operations that it was given are under way; from any thread.
  [[nodiscard]] virtual bool is_busy() = 0;

  /// Notes when everything up to here is done.
  [[nodiscard]] virtual Mark mark() = 0;
  /// When the mark was reached; after synchronize(). A device keeps the last 4,096 marks.
  [[nodiscard]] virtual std::chrono::steady_clock::time_point time_of(Mark mark) = 0;

  virtual void gemm(const kernels::GemmArgs& args) = 0;
  virtual void attention_forward(const kernels::AttentionForwardArgs& args) = 0;
  virtual void attention_backward(const kernels::AttentionBackwardArgs& args) = 0;
  virtual void norm_forward(const kernels::NormForwardArgs& args) = 0;
  virtual void norm_backward(kernels::NormBackwardArgs args) = 0;
  virtual void qkv_split(const kernels::QkvSplitArgs& args) = 0;
  virtual void qkv_merge(const kernels::QkvSplitArgs& args) = 0;
  virtual void swiglu_forward(const kernels::SwigluArgs& args) = 0;
  virtual void swiglu_backward(const kernels::SwigluArgs& args) = 0;
  virtual void gelu_forward(const kernels::GeluArgs& args) = 0;
  virtual void gelu_backward(const kernels::GeluArgs& args) = 0;
  virtual void add(const kernels::AddArgs& args) = 0;
  virtual void add_bias(const kernels::AddBiasArgs& args) = 0;
  virtual void bias_grad(kernels::BiasGradArgs args) = 0;
  virtual void cast(const kernels::CastArgs& args) = 0;
  virtual void embedding_forward(const kernels::EmbeddingForwardArgs& args) = 0;
  virtual void embedding_backward(kernels::EmbeddingBackwardArgs args) = 0;
  virtual void positions_forward(const kernels::PositionsArgs& args) = 0;
  virtual void positions_backward(const kernels::PositionsArgs& args) = 0;
  virtual void cross_entropy_stats(const kernels::CrossEntropyStatsArgs& args) = 0;
  virtual void cross_entropy_backward(const kernels::CrossEntropyBackwardArgs& args) = 0;
  virtual void adamw(const kernels::AdamwArgs& args) = 0;
  virtual void squared_sum(kernels::SquaredSumArgs args) = 0;
  virtual void clip_scale(const kernels::ClipScaleArgs& args) = 0;
  virtual void random_normal(const kernels::RandomNormalArgs& args) = 0;
};

inline Buffer::~Buffer() {
  if (data_ != nullptr) {
    device_->free(data_);
  }
}

}  // namespace runflat::exec
