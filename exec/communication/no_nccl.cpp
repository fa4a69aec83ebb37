#include "exec/communication/nccl_transport.hpp"
#include "exec/device/make_device.hpp"

namespace runflat::exec {

std::unique_ptr<Transport> make_nccl_transport(Device& /*device*/,
                                               Store& /*store*/,
                                               std::int64_t /*process*/) {
  throw Unavailable("this build has no NCCL: it was configured without CUDA, NCCL or cuDNN");
}

std::string gpu_versions() {
  return "";
}

}  // namespace runflat::exec
