#include "exec/device/gpu_sampler.hpp"
#include "exec/device/nvml_library.hpp"

#include <condition_variable>
#include <mutex>
#include <thread>

namespace runflat::exec {
namespace {

[[nodiscard]] bool read(const NvmlLibrary& nvml, NvmlDevice device, GpuSample& sample) {
  unsigned milliwatts = 0;
  unsigned megahertz = 0;
  if (nvml.power(device, &milliwatts) != kNvmlSuccess ||
      nvml.clock(device, kNvmlClockSm, &megahertz) != kNvmlSuccess) {
    return false;
  }
  sample.watts = 1e-3 * milliwatts;
  sample.sm_mhz = megahertz;
  return true;
}

}  // namespace

class GpuSampler::Reader {
 public:
  Reader(std::int64_t num_gpus, std::chrono::milliseconds interval) {
    if (!nvml_.is_open()) {
      return;
    }
    for (std::int64_t gpu = 0; gpu < num_gpus; ++gpu) {
      devices_.push_back(nvml_.device(static_cast<int>(gpu)));
    }
    thread_ = std::thread([this, interval] { run(interval); });
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { static_cast<void>(stop()); }

  std::vector<GpuSample> stop() {
    {
      const std::lock_guard lock(mutex_);
      is_over_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) {
      thread_.join();
    }
    return samples_;
  }

 private:
  void run(std::chrono::milliseconds interval) {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, interval, [this] { return is_over_; })) {
      for (std::size_t gpu = 0; gpu < devices_.size(); ++gpu) {
        GpuSample sample{.time = std::chrono::system_clock::now(),
                         .gpu = static_cast<std::int64_t>(gpu)};
        if (devices_[gpu] != nullptr && read(nvml_, devices_[gpu], sample)) {
          samples_.push_back(sample);
        }
      }
    }
  }

  NvmlLibrary nvml_;
  std::vector<NvmlDevice> devices_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_over_ = false;
  std::vector<GpuSample> samples_;
  std::thread thread_;
};

GpuSampler::GpuSampler(std::int64_t num_gpus, std::chrono::milliseconds interval)
    : reader_(std::make_unique<Reader>(num_gpus, interval)) {}

GpuSampler::~GpuSampler() = default;

std::vector<GpuSample> GpuSampler::stop() {
  return reader_->stop();
}

}  // namespace runflat::exec
