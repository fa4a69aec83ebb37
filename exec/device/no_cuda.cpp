#include "exec/device/gpu_sampler.hpp"
#include "exec/device/make_device.hpp"
#include "exec/device/profiler_ranges.hpp"
#include "exec/device/xid_watch.hpp"

namespace runflat::exec {
namespace {

constexpr const char* kMissing =
    "this build has no GPU backend: it was configured without CUDA, NCCL or cuDNN";

}  // namespace

int count_gpus() {
  return 0;
}

std::unique_ptr<Device> make_cuda_device(int /*index*/, bool /*tunes*/) {
  throw Unavailable(kMissing);
}

std::string gpu_name(int /*index*/) {
  throw Unavailable(kMissing);
}

class GpuSampler::Reader {};

GpuSampler::GpuSampler(std::int64_t /*num_gpus*/, std::chrono::milliseconds /*interval*/) {}

GpuSampler::~GpuSampler() = default;

std::vector<GpuSample> GpuSampler::stop() {
  return {};
}

class XidWatch::Listener {};

XidWatch::XidWatch(std::vector<std::int64_t> /*gpus*/) {}

XidWatch::~XidWatch() = default;

std::vector<XidEvent> XidWatch::take() {
  return {};
}

void ProfilerRanges::next(const char* /*name*/) {}

void ProfilerRanges::end() {}

}  // namespace runflat::exec
