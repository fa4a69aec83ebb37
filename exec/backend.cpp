#include "exec/backend.hpp"

#include "core/error.hpp"
#include "exec/host_device.hpp"
#include "exec/make_device.hpp"

#include <fmt/format.h>

namespace runflat::exec {

Backend make_backend(std::string_view name, std::int64_t local_rank) {
  if (name == "cpu") {
    return {.device = std::make_unique<HostDevice>(), .peak_flops = std::nullopt};
  }
  if (name == "cuda") {
    return {.device = make_cuda_device(static_cast<int>(local_rank)), .peak_flops = std::nullopt};
  }
  throw ParseError("--backend", "", fmt::format("expected cpu or cuda, found {}", name));
}

}  // namespace runflat::exec
