#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

namespace runflat::exec {

struct GpuSample {
  std::chrono::system_clock::time_point time;
  std::int64_t gpu = 0;  ///< of this process, as CUDA counts
  double watts = 0.0;
  double sm_mhz = 0.0;
};

/// Reads power and clock of GPUs again and again from a thread of its own, through NVIDIA's
/// management library, which comes with the driver.
class GpuSampler {
 public:
  /// The first `num_gpus` GPUs. Without the library, and in a build without CUDA, nothing is read.
  GpuSampler(std::int64_t num_gpus, std::chrono::milliseconds interval);
  GpuSampler(const GpuSampler&) = delete;
  GpuSampler& operator=(const GpuSampler&) = delete;
  ~GpuSampler();

  /// Ends reading and gives all samples, in order of time.
  [[nodiscard]] std::vector<GpuSample> stop();

 private:
  class Reader;
  std::unique_ptr<Reader> reader_;
};

}  // namespace runflat::exec
