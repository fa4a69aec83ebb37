#include "exec/device/host_device.hpp"

#include <cstring>
#include <new>

namespace runflat::exec {
namespace {

constexpr std::align_val_t kAlignment{256};
constexpr std::size_t kNumMarks = 4096;

}  // namespace

Buffer HostDevice::allocate(std::int64_t bytes) {
  void* data = ::operator new(static_cast<std::size_t>(bytes), kAlignment);
  zero(data, bytes);
  return {*this, data, bytes};
}

void HostDevice::free(void* data) noexcept {
  ::operator delete(data, kAlignment);
}

void HostDevice::zero(void* data, std::int64_t bytes) {
  if (bytes > 0) {
    std::memset(data, 0, static_cast<std::size_t>(bytes));
  }
}

void HostDevice::copy(void* dst, const void* src, std::int64_t bytes) {
  if (bytes > 0) {
    std::memcpy(dst, src, static_cast<std::size_t>(bytes));
  }
}

void HostDevice::copy_in(void* dst, const void* src, std::int64_t bytes) {
  copy(dst, src, bytes);
}

void HostDevice::copy_out(void* dst, const void* src, std::int64_t bytes) {
  copy(dst, src, bytes);
}

Mark HostDevice::mark() {
  marks_.resize(kNumMarks);
  marks_[static_cast<std::size_t>(num_marks_) % kNumMarks] = std::chrono::steady_clock::now();
  return num_marks_++;
}

std::chrono::steady_clock::time_point HostDevice::time_of(Mark mark) {
  return marks_[static_cast<std::size_t>(mark) % kNumMarks];
}

void HostDevice::gemm(const kernels::GemmArgs& args) {
  kernels::gemm_reference(args);
}

void HostDevice::attention_forward(const kernels::AttentionForwardArgs& args) {
  kernels::attention_forward_reference(args);
}

void HostDevice::attention_backward(const kernels::AttentionBackwardArgs& args) {
  kernels::attention_backward_reference(args);
}

void HostDevice::norm_forward(const kernels::NormForwardArgs& args) {
  kernels::norm_forward_reference(args);
}

void HostDevice::norm_backward(kernels::NormBackwardArgs args) {
  kernels::norm_backward_reference(args);
}

void HostDevice::qkv_split(const kernels::QkvSplitArgs& args) {
  kernels::qkv_split_reference(args);
}

void HostDevice::qkv_merge(const kernels::QkvSplitArgs& args) {
  kernels::qkv_merge_reference(args);
}

void HostDevice::swiglu_forward(const kernels::SwigluArgs& args) {
  kernels::swiglu_forward_reference(args);
}

void HostDevice::swiglu_backward(const kernels::SwigluArgs& args) {
  kernels::swiglu_backward_reference(args);
}

void HostDevice::gelu_forward(const kernels::GeluArgs& args) {
  kernels::gelu_forward_reference(args);
}

void HostDevice::gelu_backward(const kernels::GeluArgs& args) {
  kernels::gelu_backward_reference(args);
}

void HostDevice::add(const kernels::AddArgs& args) {
  kernels::add_reference(args);
}

void HostDevice::add_bias(const kernels::AddBiasArgs& args) {
  kernels::add_bias_reference(args);
}

void HostDevice::bias_grad(kernels::BiasGradArgs args) {
  kernels::bias_grad_reference(args);
}

void HostDevice::cast(const kernels::CastArgs& args) {
  kernels::cast_reference(args);
}

void HostDevice::embedding_forward(const kernels::EmbeddingForwardArgs& args) {
  kernels::embedding_forward_reference(args);
}

void HostDevice::embedding_backward(kernels::EmbeddingBackwardArgs args) {
  kernels::embedding_backward_reference(args);
}

void HostDevice::positions_forward(const kernels::PositionsArgs& args) {
  kernels::positions_forward_reference(args);
}

void HostDevice::positions_backward(const kernels::PositionsArgs& args) {
  kernels::positions_backward_reference(args);
}

void HostDevice::cross_entropy_stats(const kernels::CrossEntropyStatsArgs& args) {
  kernels::cross_entropy_stats_reference(args);
}

void HostDevice::cross_entropy_backward(const kernels::CrossEntropyBackwardArgs& args) {
  kernels::cross_entropy_backward_reference(args);
}

void HostDevice::adamw(const kernels::AdamwArgs& args) {
  kernels::adamw_reference(args);
}

void HostDevice::squared_sum(kernels::SquaredSumArgs args) {
  kernels::squared_sum_reference(args);
}

void HostDevice::clip_scale(const kernels::ClipScaleArgs& args) {
  kernels::clip_scale_reference(args);
}

void HostDevice::random_normal(const kernels::RandomNormalArgs& args) {
  kernels::random_normal_reference(args);
}

}  // namespace runflat::exec
