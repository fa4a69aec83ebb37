#pragma once

#include "exec/device.hpp"

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

/// The backend of this name for the `local_rank`-th rank of this host. ParseError in one line for a
/// name that is unknown or that this program was built without.
[[nodiscard]] Backend make_backend(std::string_view name, std::int64_t local_rank, DataType type);

}  // namespace runflat::exec
