#pragma once

#include <cstdint>
#include <string>

namespace runflat::exec {

/// An error that the driver has reported of a GPU, by its number in NVIDIA's Xid catalog.
struct XidEvent {
  std::int64_t gpu = 0;  ///< of this host, as CUDA counts
  std::int64_t xid = 0;

  friend bool operator==(const XidEvent&, const XidEvent&) = default;
};

/// What a process on that GPU needs to go on, after the catalog's column of immediate actions
/// (https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html).
enum class XidRemedy : std::uint8_t {
  none,         ///< nothing, or the process that caused it ends anyway; also for unknown ones
  new_process,  ///< RESTART_APP: what it holds on the GPU is damaged, the GPU is not
  reset,        ///< RESET_GPU, RESTART_BM and the workflows that begin with one of them
};
[[nodiscard]] XidRemedy remedy_of(std::int64_t xid);

/// `Xid 79: GPU has fallen off the bus`; the number alone where the table does not have it.
[[nodiscard]] std::string describe_xid(std::int64_t xid);

}  // namespace runflat::exec
