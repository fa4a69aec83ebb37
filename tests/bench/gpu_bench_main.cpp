// Times the GPU's kernels, GEMMs and attention: `runflat bench` starts it. What was measured with
// what stands in the context.

#include "kernels/cuda_error.hpp"
#include "tests/bench/gpu_bench.hpp"

#include <cstdio>
#include <cublasLt.h>

namespace {

using runflat::kernels::check_cuda;

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

void add_context() {
  cudaDeviceProp properties = {};
  int driver = 0;
  int runtime = 0;
  check_cuda(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  check_cuda(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  check_cuda(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
  benchmark::AddCustomContext("gpu", properties.name);
  benchmark::AddCustomContext("driver_cuda", version_text(driver));
  benchmark::AddCustomContext("cuda", version_text(runtime));
  benchmark::AddCustomContext("cublasLt", std::to_string(cublasLtGetVersion()));
  benchmark::AddCustomContext("copy_GB/s", std::to_string(runflat::bench::copy_rate() * 1e-9));
}

}  // namespace

int main(int argc, char** argv) {
  int num_devices = 0;
  if (cudaGetDeviceCount(&num_devices) != cudaSuccess || num_devices == 0) {
    std::puts("skipped: no GPU");
    return 77;
  }
  benchmark::Initialize(&argc, argv);
  add_context();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
