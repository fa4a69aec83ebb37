#pragma once

#include "exec/device/device.hpp"

#include <chrono>
#include <vector>

namespace runflat::exec {

/// Host memory and the reference operations: every call has happened when it returns.
class HostDevice : public Device {
 public:
  [[nodiscard]] Buffer allocate(std::int64_t bytes) override;
  void free(void* data) noexcept override;
  void zero(void* data, std::int64_t bytes) override;
  void copy(void* dst, const void* src, std::int64_t bytes) override;
  void copy_in(void* dst, const void* src, std::int64_t bytes) override;
  void copy_out(void* dst, const void* src, std::int64_t bytes) override;
  void synchronize() override {}
  [[nodiscard]] bool is_busy() override { return false; }
  [[nodiscard]] Mark mark() override;
  [[nodiscard]] std::chrono::steady_clock::time_point time_of(Mark mark) override;

  void gemm(const kernels::GemmArgs& args) override;
  void attention_forward(const kernels::AttentionForwardArgs& args) override;
  void attention_backward(const kernels::AttentionBackwardArgs& args) override;
  void norm_forward(const kernels::NormForwardArgs& args) override;
  void norm_backward(kernels::NormBackwardArgs args) override;
  void qkv_split(const kernels::QkvSplitArgs& args) override;
  void qkv_merge(const kernels::QkvSplitArgs& args) override;
  void swiglu_forward(const kernels::SwigluArgs& args) override;
  void swiglu_backward(const kernels::SwigluArgs& args) override;
  void gelu_forward(const kernels::GeluArgs& args) override;
  void gelu_backward(const kernels::GeluArgs& args) override;
  void add(const kernels::AddArgs& args) override;
  void add_bias(const kernels::AddBiasArgs& args) override;
  void bias_grad(kernels::BiasGradArgs args) override;
  void cast(const kernels::CastArgs& args) override;
  void embedding_forward(const kernels::EmbeddingForwardArgs& args) override;
  void embedding_backward(kernels::EmbeddingBackwardArgs args) override;
  void positions_forward(const kernels::PositionsArgs& args) override;
  void positions_backward(const kernels::PositionsArgs& args) override;
  void cross_entropy_stats(const kernels::CrossEntropyStatsArgs& args) override;
  void cross_entropy_backward(const kernels::CrossEntropyBackwardArgs& args) override;
  void adamw(const kernels::AdamwArgs& args) override;
  void squared_sum(kernels::SquaredSumArgs args) override;
  void clip_scale(const kernels::ClipScaleArgs& args) override;
  void random_normal(const kernels::RandomNormalArgs& args) override;

 private:
  std::vector<std::chrono::steady_clock::time_point> marks_;  // a ring
  Mark num_marks_ = 0;
};

}  // namespace runflat::exec
