#include "exec/device/cuda_device.hpp"

#include "exec/device/make_device.hpp"
#include "exec/device/out_of_memory.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>

namespace runflat::exec {
namespace {

using kernels::check_cuda;

constexpr std::size_t kNumMarks = 4096;

/// Where tuned algorithms are kept: the user's cache.
std::string gemm_cache() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  if (cache != nullptr && *cache != '\0') {
    return std::filesystem::path(cache) / "runflat";
  }
  return home == nullptr ? "" : std::filesystem::path(home) / ".cache" / "runflat";
}

[[noreturn]] void throw_out_of_memory(int gpu, std::int64_t bytes) {
  static_cast<void>(cudaGetLastError());  // it is told here
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  check_cuda(cudaMemGetInfo(&free_bytes, &total_bytes), "cudaMemGetInfo");
  constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
  throw OutOfMemory(
      fmt::format("GPU {} has {:.2f} of {:.2f} GiB free, and {:.2f} GiB more are needed",
                  gpu,
                  static_cast<double>(free_bytes) / kGiB,
                  static_cast<double>(total_bytes) / kGiB,
                  static_cast<double>(bytes) / kGiB));
}

}  // namespace

int count_gpus() {
  int num = 0;
  return cudaGetDeviceCount(&num) == cudaSuccess ? num : 0;
}

std::unique_ptr<Device> make_cuda_device(int index, bool tunes) {
  // A kernel that is loaded at its first launch waits for the device, and so for a collective that
  // waits for a peer that waits for this rank.
  static_cast<void>(setenv("CUDA_MODULE_LOADING", "EAGER", 0));
  int num = 0;
  const cudaError_t status = cudaGetDeviceCount(&num);
  if (status != cudaSuccess || num == 0) {
    throw Unavailable(fmt::format("no GPU: {}", cudaGetErrorString(status)));
  }
  if (index >= num) {
    throw Unavailable(fmt::format("GPU {} was asked for, this host has {}", index, num));
  }
  return std::make_unique<CudaDevice>(index, tunes ? gemm_cache() : "");
}

std::string gpu_name(int index) {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  return properties.name;
}

CudaDevice::CudaDevice(int index, const std::string& gemm_cache)
    : index_((check_cuda(cudaSetDevice(index), "cudaSetDevice"), index)),
      stream_(make_stream(0)),
      gemm_(gemm_cache) {}

CudaDevice::~CudaDevice() {
  aside_.clear();  // waits
  static_cast<void>(cudaStreamSynchronize(stream()));
  static_cast<void>(cudaFree(workspace_));
  give_back();
}

void CudaDevice::bind_thread() const {
  check_cuda(cudaSetDevice(index_), "cudaSetDevice");
}

void CudaDevice::run_aside(std::function<void()> work) {
  const std::lock_guard lock(aside_mutex_);
  std::erase_if(aside_, [](const std::future<void>& past) {
    return past.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  });
  aside_.push_back(std::async(std::launch::async, [this, work = std::move(work)] {
    bind_thread();
    work();
  }));
}

Buffer CudaDevice::allocate(std::int64_t bytes) {
  if (bytes == 0) {
    return {*this, nullptr, 0};
  }
  void* data = nullptr;
  const auto kept = kept_.find(bytes);
  if (kept != kept_.end()) {
    data = kept->second;
    kept_.erase(kept);
  } else {
    const auto size = static_cast<std::size_t>(bytes);
    if (cudaMalloc(&data, size) != cudaSuccess) {
      give_back();
      static_cast<void>(cudaGetLastError());
      if (cudaMalloc(&data, size) != cudaSuccess) {
        throw_out_of_memory(index_, bytes);
      }
    }
    sizes_.emplace(data, bytes);
  }
  zero(data, bytes);
  return {*this, data, bytes};
}

/// Whoever freed it has ended what other streams did with it; ours come one after another.
void CudaDevice::free(void* data) noexcept {
  if (data != nullptr) {
    kept_.emplace(sizes_.at(data), data);
  }
}

void CudaDevice::give_back() {
  for (const auto& [bytes, data] : kept_) {
    sizes_.erase(data);
    static_cast<void>(cudaFree(data));
  }
  kept_.clear();
}

void CudaDevice::zero(void* data, std::int64_t bytes) {
  if (bytes > 0) {
    check_cuda(cudaMemsetAsync(data, 0, static_cast<std::size_t>(bytes), stream()),
               "cudaMemsetAsync");
  }
}

void CudaDevice::copy(void* dst, const void* src, std::int64_t bytes) {
  if (bytes > 0) {
    check_cuda(cudaMemcpyAsync(
                   dst, src, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToDevice, stream()),
               "cudaMemcpyAsync");
  }
}

void CudaDevice::copy_in(void* dst, const void* src, std::int64_t bytes) {
  if (bytes > 0) {  // from pageable memory: staged when the call returns
    check_cuda(cudaMemcpyAsync(
                   dst, src, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice, stream()),
               "cudaMemcpyAsync");
  }
}

void CudaDevice::copy_out(void* dst, const void* src, std::int64_t bytes) {
  if (bytes > 0) {
    check_cuda(cudaMemcpyAsync(
                   dst, src, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToHost, stream()),
               "cudaMemcpyAsync");
  }
  synchronize();
}

void CudaDevice::synchronize() {
  check_cuda(cudaStreamSynchronize(stream()), "cudaStreamSynchronize");
}

bool CudaDevice::is_busy() {
  return is_busy(stream());
}

bool CudaDevice::is_busy(cudaStream_t stream) const {
  bind_thread();
  return cudaStreamQuery(stream) == cudaErrorNotReady;
}

Mark CudaDevice::mark() {
  if (marks_.empty()) {
    for (std::size_t i = 0; i < kNumMarks; ++i) {
      marks_.push_back(make_event(true));
    }
    base_ = make_event(true);
    synchronize();
    check_cuda(cudaEventRecord(base_.get(), stream()), "cudaEventRecord");
    synchronize();
    base_time_ = std::chrono::steady_clock::now();
  }
  const auto& event = marks_[static_cast<std::size_t>(num_marks_) % kNumMarks];
  check_cuda(cudaEventRecord(event.get(), stream()), "cudaEventRecord");
  return num_marks_++;
}

std::chrono::steady_clock::time_point CudaDevice::time_of(Mark mark) {
  const auto& event = marks_[static_cast<std::size_t>(mark) % kNumMarks];
  float ms = 0.0F;
  check_cuda(cudaEventElapsedTime(&ms, base_.get(), event.get()), "cudaEventElapsedTime");
  return base_time_ + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                          std::chrono::duration<double, std::milli>(static_cast<double>(ms)));
}

void* CudaDevice::workspace(std::int64_t bytes) {
  if (bytes > workspace_bytes_) {
    synchronize();
    check_cuda(cudaFree(workspace_), "cudaFree");
    workspace_ = nullptr;
    workspace_bytes_ = 0;
    allocating("workspaces of operations", "a smaller micro_batch_size needs less", [&] {
      if (cudaMalloc(&workspace_, static_cast<std::size_t>(bytes)) != cudaSuccess) {
        throw_out_of_memory(index_, bytes);
      }
    });
    workspace_bytes_ = bytes;
  }
  return workspace_;
}

void CudaDevice::gemm(const kernels::GemmArgs& args) {
  gemm_.run(args, workspace(kernels::Gemm::workspace()), stream());
}

void CudaDevice::attention_forward(const kernels::AttentionForwardArgs& args) {
  attention_.forward(args, workspace(attention_.workspace(args.shape)), stream());
}

void CudaDevice::attention_backward(const kernels::AttentionBackwardArgs& args) {
  attention_.backward(args, workspace(attention_.workspace(args.shape)), stream());
}

void CudaDevice::norm_forward(const kernels::NormForwardArgs& args) {
  kernels::norm_forward(args, stream());
}

void CudaDevice::norm_backward(kernels::NormBackwardArgs args) {
  args.workspace = workspace(kernels::norm_backward_workspace(args.rows, args.cols, args.type));
  kernels::norm_backward(args, stream());
}

void CudaDevice::qkv_split(const kernels::QkvSplitArgs& args) {
  kernels::qkv_split(args, stream());
}

void CudaDevice::qkv_merge(const kernels::QkvSplitArgs& args) {
  kernels::qkv_merge(args, stream());
}

void CudaDevice::swiglu_forward(const kernels::SwigluArgs& args) {
  kernels::swiglu_forward(args, stream());
}

void CudaDevice::swiglu_backward(const kernels::SwigluArgs& args) {
  kernels::swiglu_backward(args, stream());
}

void CudaDevice::gelu_forward(const kernels::GeluArgs& args) {
  kernels::gelu_forward(args, stream());
}

void CudaDevice::gelu_backward(const kernels::GeluArgs& args) {
  kernels::gelu_backward(args, stream());
}

void CudaDevice::add(const kernels::AddArgs& args) {
  kernels::add(args, stream());
}

void CudaDevice::add_bias(const kernels::AddBiasArgs& args) {
  kernels::add_bias(args, stream());
}

void CudaDevice::bias_grad(kernels::BiasGradArgs args) {
  args.workspace = workspace(kernels::bias_grad_workspace(args.rows, args.cols, args.type));
  kernels::bias_grad(args, stream());
}

void CudaDevice::cast(const kernels::CastArgs& args) {
  kernels::cast(args, stream());
}

void CudaDevice::embedding_forward(const kernels::EmbeddingForwardArgs& args) {
  kernels::embedding_forward(args, stream());
}

void CudaDevice::embedding_backward(kernels::EmbeddingBackwardArgs args) {
  args.workspace = workspace(kernels::embedding_backward_workspace(args.tokens, args.local_rows));
  kernels::embedding_backward(args, stream());
}

void CudaDevice::positions_forward(const kernels::PositionsArgs& args) {
  kernels::positions_forward(args, stream());
}

void CudaDevice::positions_backward(const kernels::PositionsArgs& args) {
  kernels::positions_backward(args, stream());
}

void CudaDevice::cross_entropy_stats(const kernels::CrossEntropyStatsArgs& args) {
  kernels::cross_entropy_stats(args, stream());
}

void CudaDevice::cross_entropy_backward(const kernels::CrossEntropyBackwardArgs& args) {
  kernels::cross_entropy_backward(args, stream());
}

void CudaDevice::adamw(const kernels::AdamwArgs& args) {
  kernels::adamw(args, stream());
}

void CudaDevice::squared_sum(kernels::SquaredSumArgs args) {
  args.workspace = workspace(kernels::squared_sum_workspace());
  kernels::squared_sum(args, stream());
}

void CudaDevice::clip_scale(const kernels::ClipScaleArgs& args) {
  kernels::clip_scale(args, stream());
}

void CudaDevice::random_normal(const kernels::RandomNormalArgs& args) {
  kernels::random_normal(args, stream());
}

}  // namespace runflat::exec
