// The management library is opened at run time: its header and its stub do not come with the CUDA
// toolkit everywhere, and a machine without a driver has no library.

#include "exec/device/gpu_sampler.hpp"

#include <cuda_runtime_api.h>

#include <array>
#include <condition_variable>
#include <dlfcn.h>
#include <mutex>
#include <thread>

namespace runflat::exec {
namespace {

using NvmlDevice = void*;
constexpr int kNvmlSuccess = 0;
constexpr int kNvmlClockSm = 1;

/// The functions that are used, as nvml.h declares them.
class Nvml {
 public:
  Nvml() : library_(dlopen("libnvidia-ml.so.1", RTLD_NOW)) {
    if (library_ == nullptr) {
      return;
    }
    find("nvmlInit_v2", init_);
    find("nvmlShutdown", shutdown_);
    find("nvmlDeviceGetHandleByPciBusId_v2", by_bus_);
    find("nvmlDeviceGetPowerUsage", power_);
    find("nvmlDeviceGetClockInfo", clock_);
    is_open_ = init_ != nullptr && shutdown_ != nullptr && by_bus_ != nullptr &&
               power_ != nullptr && clock_ != nullptr && init_() == kNvmlSuccess;
  }
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;
  ~Nvml() {
    if (is_open_) {
      static_cast<void>(shutdown_());
    }
    if (library_ != nullptr) {
      static_cast<void>(dlclose(library_));
    }
  }

  [[nodiscard]] bool is_open() const { return is_open_; }

  /// nullptr for a GPU that it does not know.
  [[nodiscard]] NvmlDevice device(int gpu) const {
    std::array<char, 32> bus{};
    NvmlDevice device = nullptr;
    const bool found =
        cudaDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()), gpu) == cudaSuccess &&
        by_bus_(bus.data(), &device) == kNvmlSuccess;
    return found ? device : nullptr;
  }

  [[nodiscard]] bool read(NvmlDevice device, GpuSample& sample) const {
    unsigned milliwatts = 0;
    unsigned megahertz = 0;
    if (power_(device, &milliwatts) != kNvmlSuccess ||
        clock_(device, kNvmlClockSm, &megahertz) != kNvmlSuccess) {
      return false;
    }
    sample.watts = 1e-3 * milliwatts;
    sample.sm_mhz = megahertz;
    return true;
  }

 private:
  template <typename Function>
  void find(const char* name, Function*& function) {
    function = reinterpret_cast<Function*>(dlsym(library_, name));
  }

  void* library_;
  bool is_open_ = false;
  int (*init_)() = nullptr;
  int (*shutdown_)() = nullptr;
  int (*by_bus_)(const char*, NvmlDevice*) = nullptr;
  int (*power_)(NvmlDevice, unsigned*) = nullptr;
  int (*clock_)(NvmlDevice, int, unsigned*) = nullptr;
};

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
        if (devices_[gpu] != nullptr && nvml_.read(devices_[gpu], sample)) {
          samples_.push_back(sample);
        }
      }
    }
  }

  Nvml nvml_;
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
