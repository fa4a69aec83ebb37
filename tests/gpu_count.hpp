#pragma once

#include <cuda_runtime_api.h>

namespace runflat::tests {

/// GPUs of this host; 0 without a driver.
[[nodiscard]] inline int num_gpus() {
  int num = 0;
  return cudaGetDeviceCount(&num) == cudaSuccess ? num : 0;
}

}  // namespace runflat::tests
