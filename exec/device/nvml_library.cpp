#include "exec/device/nvml_library.hpp"

#include <cuda_runtime_api.h>

#include <array>
#include <dlfcn.h>

namespace runflat::exec {

NvmlLibrary::NvmlLibrary() : library_(dlopen("libnvidia-ml.so.1", RTLD_NOW)) {
  if (library_ == nullptr) {
    return;
  }
  bool has_all = true;
  const auto find = [&]<typename Function>(const char* name, Function*& function) {
    function = reinterpret_cast<Function*>(dlsym(library_, name));
    has_all = has_all && function != nullptr;
  };
  find("nvmlInit_v2", init_);
  find("nvmlShutdown", shutdown_);
  find("nvmlDeviceGetHandleByPciBusId_v2", by_bus_);
  find("nvmlDeviceGetPowerUsage", power);
  find("nvmlDeviceGetClockInfo", clock);
  find("nvmlEventSetCreate", create_events);
  find("nvmlDeviceRegisterEvents", register_events);
  find("nvmlEventSetWait_v2", wait_for_event);
  find("nvmlEventSetFree", free_events);
  is_open_ = has_all && init_() == kNvmlSuccess;
}

NvmlLibrary::~NvmlLibrary() {
  if (is_open_) {
    static_cast<void>(shutdown_());
  }
  if (library_ != nullptr) {
    static_cast<void>(dlclose(library_));
  }
}

NvmlDevice NvmlLibrary::device(int gpu) const {
  std::array<char, 32> bus{};
  NvmlDevice device = nullptr;
  const bool found =
      cudaDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()), gpu) == cudaSuccess &&
      by_bus_(bus.data(), &device) == kNvmlSuccess;
  return found ? device : nullptr;
}

}  // namespace runflat::exec
