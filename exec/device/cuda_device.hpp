#pragma once

#include "exec/device/cuda_handles.hpp"
#include "exec/device/device.hpp"
#include "kernels/attention.hpp"
#include "kernels/gemm.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace runflat::exec {

/// A GPU: operations are queued on its compute stream and the call returns.
///
/// Memory that is freed is kept for the next allocation of its size, so that a change of plan,
/// which mostly frees and allocates the same again, does not wait for the driver; all that is kept
/// goes back where an allocation would fail.
class CudaDevice : public Device {
 public:
  /// `gemm_cache` is the folder of tuned algorithms (kernels::Gemm).
  CudaDevice(int index, const std::string& gemm_cache);
  ~CudaDevice() override;

  [[nodiscard]] int index() const { return index_; }
  [[nodiscard]] cudaStream_t stream() const { return stream_.get(); }

  /// A thread that did not make the device calls it before CUDA: otherwise CUDA takes GPU 0 for it,
  /// and half a second to set that up.
  void bind_thread() const;

  /// Whether a stream of this GPU has work. Called from any thread.
  [[nodiscard]] bool is_busy(cudaStream_t stream) const;

  /// Runs what need not be waited for; it ends before the device does. Called from any thread.
  void run_aside(std::function<void()> work);

  [[nodiscard]] Buffer allocate(std::int64_t bytes) override;
  void free(void* data) noexcept override;
  void zero(void* data, std::int64_t bytes) override;
  void copy(void* dst, const void* src, std::int64_t bytes) override;
  void copy_in(void* dst, const void* src, std::int64_t bytes) override;
  void copy_out(void* dst, const void* src, std::int64_t bytes) override;
  void synchronize() override;
  [[nodiscard]] bool is_busy() override;
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
  /// Memory for one operation. Operations follow each other on one stream, so that all share it; it
  /// grows while the first step shows what is needed.
  [[nodiscard]] void* workspace(std::int64_t bytes);
  /// To the driver: what is kept.
  void give_back();

  int index_;
  CudaStream stream_;
  void* workspace_ = nullptr;
  std::int64_t workspace_bytes_ = 0;
  std::unordered_map<void*, std::int64_t> sizes_;      // of all that is allocated or kept
  std::unordered_multimap<std::int64_t, void*> kept_;  // by size
  kernels::Gemm gemm_;
  kernels::Attention attention_;
  std::vector<CudaEvent> marks_;  // a ring; the first is made when something is marked
  Mark num_marks_ = 0;
  CudaEvent base_;  // when base_time_ was
  std::chrono::steady_clock::time_point base_time_;
  std::mutex aside_mutex_;
  std::vector<std::future<void>> aside_;
};

}  // namespace runflat::exec
