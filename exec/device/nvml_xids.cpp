#include "exec/device/nvml_library.hpp"
#include "exec/device/xid_watch.hpp"

#include <atomic>
#include <chrono>
#include <csignal>
#include <mutex>
#include <thread>
#include <utility>

namespace runflat::exec {
namespace {

constexpr unsigned kWaitMilliseconds = 100;  // also until a watch that ends has ended

/// A thread that gets no signals: they are for whoever started it.
template <typename Work>
std::thread make_quiet_thread(Work work) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(std::move(work));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace

class XidWatch::Listener {
 public:
  explicit Listener(std::vector<std::int64_t> gpus)
      : gpus_(std::move(gpus)), thread_(make_quiet_thread([this] { listen(); })) {}
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener() {
    is_over_ = true;
    thread_.join();
  }

  std::vector<XidEvent> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(events_, {});
  }

 private:
  /// Opens the library here: it takes a while, which the start of workers does not wait for.
  void listen() {
    const NvmlLibrary nvml;
    NvmlEventSet events = nullptr;
    if (!nvml.is_open() || nvml.create_events(&events) != kNvmlSuccess) {
      return;
    }
    std::vector<NvmlDevice> devices;
    for (const std::int64_t gpu : gpus_) {
      devices.push_back(nvml.device(static_cast<int>(gpu)));
      if (devices.back() != nullptr) {
        static_cast<void>(nvml.register_events(devices.back(), kNvmlXidCriticalError, events));
      }
    }
    while (!is_over_) {
      NvmlEvent event;
      const int status = nvml.wait_for_event(events, &event, kWaitMilliseconds);
      if (status == kNvmlSuccess && event.type == kNvmlXidCriticalError) {
        note(devices, event);
      } else if (status != kNvmlTimeout) {
        std::this_thread::sleep_for(std::chrono::milliseconds(kWaitMilliseconds));
      }
    }
    static_cast<void>(nvml.free_events(events));
  }

  void note(const std::vector<NvmlDevice>& devices, const NvmlEvent& event) {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < devices.size(); ++i) {
      if (devices[i] == event.device) {
        events_.push_back({.gpu = gpus_[i], .xid = static_cast<std::int64_t>(event.data)});
      }
    }
  }

  const std::vector<std::int64_t> gpus_;
  std::mutex mutex_;
  std::vector<XidEvent> events_;
  std::atomic<bool> is_over_ = false;
  std::thread thread_;
};

XidWatch::XidWatch(std::vector<std::int64_t> gpus)
    : listener_(std::make_unique<Listener>(std::move(gpus))) {}

XidWatch::~XidWatch() = default;

std::vector<XidEvent> XidWatch::take() {
  return listener_->take();
}

}  // namespace runflat::exec
