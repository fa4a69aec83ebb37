#include "kernels/cuda_error.hpp"

#include <cuda_runtime.h>

#include <string>

namespace runflat::kernels {

void check_cuda(int status, const char* call) {
  if (status != cudaSuccess) {
    throw CudaError(std::string(call) + ": " +
                    cudaGetErrorString(static_cast<cudaError_t>(status)));
  }
}

}  // namespace runflat::kernels
