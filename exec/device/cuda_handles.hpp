#pragma once

#include "kernels/cuda_error.hpp"

#include <cuda_runtime_api.h>

#include <memory>
#include <type_traits>

namespace runflat::exec {

/// Owner of a CUDA handle; destroying never throws.
template <typename Handle, cudaError_t (*destroy)(Handle)>
struct DestroyHandle {
  void operator()(Handle handle) const noexcept { static_cast<void>(destroy(handle)); }
};
template <typename Handle, cudaError_t (*destroy)(Handle)>
using UniqueHandle = std::unique_ptr<std::remove_pointer_t<Handle>, DestroyHandle<Handle, destroy>>;

using CudaStream = UniqueHandle<cudaStream_t, cudaStreamDestroy>;
using CudaEvent = UniqueHandle<cudaEvent_t, cudaEventDestroy>;

/// Lower numbers go first; the device's range is cut off.
[[nodiscard]] inline CudaStream make_stream(int priority) {
  cudaStream_t stream = nullptr;
  kernels::check_cuda(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, priority),
                      "cudaStreamCreateWithPriority");
  return CudaStream(stream);
}

[[nodiscard]] inline CudaEvent make_event(bool is_timed) {
  cudaEvent_t event = nullptr;
  const unsigned flags = is_timed ? cudaEventDefault : cudaEventDisableTiming;
  kernels::check_cuda(cudaEventCreateWithFlags(&event, flags), "cudaEventCreateWithFlags");
  return CudaEvent(event);
}

}  // namespace runflat::exec
