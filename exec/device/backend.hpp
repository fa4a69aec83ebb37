#pragma once

#include "exec/device/device.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

namespace runflat::exec {

/// What a rank computes on.
struct Backend {
  std::unique_ptr<Device> device;
  /// FLOP/s of the device for matrix products of the job's type, as its maker states them: what MFU
  /// refers to. Nothing where no such number is known.
  std::optional<double> peak_flops;
};

/// `cpu`, or `cuda`: GPU number `local_rank` of this host, for a job of this type. ParseError for
/// another name, Unavailable for what this build or this host does not have.
[[nodiscard]] Backend make_backend(std::string_view name, std::int64_t local_rank, DataType type);

/// NVIDIA's dense bf16 peak of a GPU with this name.
[[nodiscard]] std::optional<double> bf16_peak_flops(std::string_view gpu_name);

}  // namespace runflat::exec
