#include "exec/device/host_values.hpp"

#include "kernels/elementwise.hpp"

#include <cstddef>

namespace runflat::exec {

std::vector<double> read_values(Device& device, const void* data, std::int64_t num, DataType type) {
  std::vector<std::byte> raw(static_cast<std::size_t>(num * kernels::size_of(type)));
  device.copy_out(raw.data(), data, static_cast<std::int64_t>(raw.size()));
  std::vector<double> values(static_cast<std::size_t>(num));
  kernels::cast_reference({.src = raw.data(),
                           .dst = values.data(),
                           .num = num,
                           .src_type = type,
                           .dst_type = DataType::fp64});
  return values;
}

void write_values(Device& device, void* data, std::span<const double> values, DataType type) {
  const auto num = static_cast<std::int64_t>(values.size());
  std::vector<std::byte> raw(static_cast<std::size_t>(num * kernels::size_of(type)));
  kernels::cast_reference({.src = values.data(),
                           .dst = raw.data(),
                           .num = num,
                           .src_type = DataType::fp64,
                           .dst_type = type});
  device.copy_in(data, raw.data(), static_cast<std::int64_t>(raw.size()));
}

}  // namespace runflat::exec
