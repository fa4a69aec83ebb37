#pragma once

#include "kernels/data_type.hpp"

#include <cstdint>

namespace runflat::kernels {

/// dst[i] = mean + std * n(seed, stream_id, first + i): standard normals that depend on their
/// number alone, whoever draws them. Philox4x32-10 with key `seed`, counter (element / 4,
/// stream_id), and Box-Muller on the pairs of its four words.
struct RandomNormalArgs {
  void* dst = nullptr;
  std::int64_t num = 0;
  std::int64_t first = 0;
  std::uint64_t seed = 0;
  std::uint64_t stream_id = 0;
  double mean = 0.0;
  double std = 1.0;
  DataType type = DataType::fp32;
};

void random_normal(const RandomNormalArgs& args, Stream stream);
void random_normal_reference(const RandomNormalArgs& args);

}  // namespace runflat::kernels
