#pragma once

#include <stdexcept>

namespace runflat::kernels {

/// A CUDA call failed; the text holds the call and CUDA's reason.
class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws CudaError unless `status` (a cudaError_t) is cudaSuccess. Only built with CUDA.
void check_cuda(int status, const char* call);

}  // namespace runflat::kernels
