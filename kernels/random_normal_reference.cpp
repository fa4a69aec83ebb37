#include "kernels/host_dispatch.hpp"
#include "kernels/philox.hpp"
#include "kernels/random_normal.hpp"

#include <cmath>
#include <numbers>

namespace runflat::kernels {
namespace {

/// Box-Muller, in fp64 whatever the type: sqrt(-2 ln u0) times the cosine and the sine of 2 pi u1.
std::array<double, 4> normals_of(const std::array<std::uint32_t, 4>& words) {
  std::array<double, 4> out = {};
  for (std::size_t pair = 0; pair < 4; pair += 2) {
    const double radius = std::sqrt(-2.0 * std::log(unit_interval(words[pair])));
    const double angle = 2.0 * std::numbers::pi * unit_interval(words[pair + 1]);
    out[pair] = radius * std::cos(angle);
    out[pair + 1] = radius * std::sin(angle);
  }
  return out;
}

}  // namespace

void random_normal_reference(const RandomNormalArgs& args) {
  with_host_type(args.type, [&]<typename T>() {
    auto* dst = static_cast<T*>(args.dst);
    const std::int64_t end = args.first + args.num;
    for (std::int64_t block = args.first / 4; 4 * block < end; ++block) {
      const std::array<double, 4> normals =
          normals_of(philox_block(args.seed, args.stream_id, static_cast<std::uint64_t>(block)));
      for (std::int64_t i = 0; i < 4; ++i) {
        const std::int64_t element = 4 * block + i;
        if (element >= args.first && element < end) {
          const double value = args.mean + args.std * normals[static_cast<std::size_t>(i)];
          dst[element - args.first] = static_cast<T>(static_cast<Accumulate<T>>(value));
        }
      }
    }
  });
}

}  // namespace runflat::kernels
