// Ends a GPU test program with status 77, which ctest counts as skipped, where there is no GPU:
// before any test runs, because Catch2 v2 cannot skip.

#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>

namespace {

[[maybe_unused]] const bool kHasGpu = [] {
  int num_devices = 0;
  if (cudaGetDeviceCount(&num_devices) != cudaSuccess || num_devices == 0) {
    std::puts("skipped: no GPU");
    std::fflush(stdout);
    std::_Exit(77);
  }
  return true;
}();

}  // namespace
