#pragma once

#include "exec/device/xid.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace runflat::exec {

/// Listens, in a thread of its own, for critical Xid errors of GPUs of this host, through NVIDIA's
/// management library. Holds nothing on the GPUs.
class XidWatch {
 public:
  /// GPUs as CUDA counts them. Without the library, and in a build without CUDA, nothing is heard.
  explicit XidWatch(std::vector<std::int64_t> gpus);
  XidWatch(const XidWatch&) = delete;
  XidWatch& operator=(const XidWatch&) = delete;
  ~XidWatch();

  /// What was heard since the last call, in its order; never waits.
  [[nodiscard]] std::vector<XidEvent> take();

 private:
  class Listener;
  std::unique_ptr<Listener> listener_;
};

}  // namespace runflat::exec
