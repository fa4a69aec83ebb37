#pragma once

#include "exec/communication/transport.hpp"
#include "exec/device/device.hpp"
#include "exec/store/store.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace runflat::exec {

/// NCCL between the processes of a job, each with the GPU of its own that `device` is. Processes
/// meet in the store, which outlives the transport. Unavailable in a build without NCCL.
[[nodiscard]] std::unique_ptr<Transport> make_nccl_transport(Device& device,
                                                             Store& store,
                                                             std::int64_t process);

/// Versions of the driver and the libraries of the GPU backend, at run time; empty without them.
[[nodiscard]] std::string gpu_versions();

}  // namespace runflat::exec
