#pragma once

#include "exec/device/device.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace runflat::exec {

/// Numbers of a device's memory, of type fp32, fp64 or bf16, on the host and back. Reading waits
/// for what was queued before.
[[nodiscard]] std::vector<double> read_values(Device& device,
                                              const void* data,
                                              std::int64_t num,
                                              DataType type);
void write_values(Device& device, void* data, std::span<const double> values, DataType type);

}  // namespace runflat::exec
