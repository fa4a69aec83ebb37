#include "exec/device/backend.hpp"

#include "core/error.hpp"
#include "exec/device/host_device.hpp"
#include "exec/device/make_device.hpp"

#include <array>
#include <fmt/format.h>
#include <utility>

namespace runflat::exec {

Backend make_backend(std::string_view name, std::int64_t local_rank, DataType type) {
  if (name == "cpu") {
    return {.device = std::make_unique<HostDevice>(), .peak_flops = std::nullopt};
  }
  if (name == "cuda") {
    const auto index = static_cast<int>(local_rank);
    Backend backend{.device = make_cuda_device(index), .peak_flops = std::nullopt};
    if (type == DataType::bf16) {
      backend.peak_flops = bf16_peak_flops(gpu_name(index));
    }
    return backend;
  }
  throw ParseError("--backend", "", fmt::format("expected cpu or cuda, found {}", name));
}

std::optional<double> bf16_peak_flops(std::string_view gpu_name) {
  constexpr std::array<std::pair<std::string_view, double>, 6> kPeaks = {{{"H100 PCIe", 756e12},
                                                                          {"H100", 989e12},
                                                                          {"H200", 989e12},
                                                                          {"A100", 312e12},
                                                                          {"GB200", 2450e12},
                                                                          {"B200", 2250e12}}};
  for (const auto& [name, peak] : kPeaks) {
    if (gpu_name.find(name) != gpu_name.npos) {
      return peak;
    }
  }
  return std::nullopt;
}

}  // namespace runflat::exec
