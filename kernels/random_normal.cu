#include "kernels/device.cuh"
#include "kernels/philox.hpp"
#include "kernels/random_normal.hpp"

namespace runflat::kernels {
namespace {

constexpr int kThreads = 256;

/// A thread draws the four normals of one Philox block, in fp64 as the host does.
template <typename T>
__global__ void __launch_bounds__(kThreads) random_normal_kernel(const RandomNormalArgs args) {
  const std::int64_t block = args.first / 4 + std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const auto words = philox_block(args.seed, args.stream_id, static_cast<std::uint64_t>(block));
#pragma unroll
  for (int pair = 0; pair < 4; pair += 2) {
    const double radius = sqrt(-2.0 * log(unit_interval(words[pair])));
    double normals[2];  // sine, cosine
    sincospi(2.0 * unit_interval(words[pair + 1]), &normals[0], &normals[1]);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const std::int64_t at = 4 * block + pair + i - args.first;
      if (at >= 0 && at < args.num) {
        const double value = args.mean + args.std * radius * normals[1 - i];
        static_cast<T*>(args.dst)[at] = static_cast<T>(static_cast<float>(value));
      }
    }
  }
}

}  // namespace

void random_normal(const RandomNormalArgs& args, Stream stream) {
  if (args.num == 0) {
    return;
  }
  with_device_type(args.type, [&]<typename T>() {
    const std::int64_t num_blocks = (args.first + args.num - 1) / 4 - args.first / 4 + 1;
    random_normal_kernel<T>
        <<<static_cast<unsigned>(ceil_div(num_blocks, kThreads)), kThreads, 0, stream>>>(args);
  });
  check_launch("random_normal_kernel");
}

}  // namespace runflat::kernels
