#pragma once

namespace runflat::exec {

using NvmlDevice = void*;
using NvmlEventSet = void*;

/// nvmlEventData_t since its second version.
struct NvmlEvent {
  NvmlDevice device = nullptr;
  unsigned long long type = 0;
  unsigned long long data = 0;
  unsigned gpu_instance = 0;
  unsigned compute_instance = 0;
};

inline constexpr int kNvmlSuccess = 0;
inline constexpr int kNvmlTimeout = 10;
inline constexpr int kNvmlClockSm = 1;
inline constexpr unsigned long long kNvmlXidCriticalError = 8;

/// NVIDIA's management library, opened at run time: its header and its stub do not come with the
/// CUDA toolkit everywhere, and a machine without a driver has no library. The functions are as
/// nvml.h declares them.
class NvmlLibrary {
 public:
  NvmlLibrary();
  NvmlLibrary(const NvmlLibrary&) = delete;
  NvmlLibrary& operator=(const NvmlLibrary&) = delete;
  ~NvmlLibrary();

  /// Whether it is there; nothing else may be called where it is not.
  [[nodiscard]] bool is_open() const { return is_open_; }
  /// A GPU as CUDA counts; nullptr for one that it does not know.
  [[nodiscard]] NvmlDevice device(int gpu) const;

  int (*power)(NvmlDevice, unsigned* milliwatts) = nullptr;
  int (*clock)(NvmlDevice, int kind, unsigned* megahertz) = nullptr;
  int (*create_events)(NvmlEventSet*) = nullptr;
  int (*register_events)(NvmlDevice, unsigned long long types, NvmlEventSet) = nullptr;
  int (*wait_for_event)(NvmlEventSet, NvmlEvent*, unsigned milliseconds) = nullptr;
  int (*free_events)(NvmlEventSet) = nullptr;

 private:
  void* library_;
  bool is_open_ = false;
  int (*init_)() = nullptr;
  int (*shutdown_)() = nullptr;
  int (*by_bus_)(const char*, NvmlDevice*) = nullptr;
};

}  // namespace runflat::exec
