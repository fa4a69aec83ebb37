#include "sim/random.hpp"

#include "core/error.hpp"
#include "sim/portable_math.hpp"

#include <cmath>

namespace runflat::sim {
namespace {

constexpr std::uint32_t high(std::uint64_t x) {
  return static_cast<std::uint32_t>(x >> 32U);
}
constexpr std::uint32_t low(std::uint64_t x) {
  return static_cast<std::uint32_t>(x);
}

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) {
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {high(b) ^ counter[1] ^ key[0], low(b), high(a) ^ counter[3] ^ key[1], low(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

RandomStream::RandomStream(std::uint64_t seed, StreamId id)
    : counter_{0, id.source, id.trial, static_cast<std::uint32_t>(id.purpose)},
      key_{low(seed), high(seed)} {}

void RandomStream::refill() {
  block_ = philox4x32(counter_, key_);
  next_ = 0;
  if (++counter_[0] == 0) {
    counter_[3] += 0x100;  // the purpose is the lowest byte, the blocks' carry the rest
  }
}

std::uint32_t RandomStream::below(std::uint32_t num_values) {
  require(num_values > 0, "a choice needs at least one value");
  // Lemire, "Fast random integer generation in an interval" (ACM TOMACS 29, 2019).
  std::uint64_t product = std::uint64_t{bits32()} * num_values;
  if (low(product) < num_values) {
    const std::uint32_t threshold = (0U - num_values) % num_values;
    while (low(product) < threshold) {
      product = std::uint64_t{bits32()} * num_values;
    }
  }
  return high(product);
}

double RandomStream::exponential() {
  return -portable_log(uniform());
}

double RandomStream::normal() {
  return normal_quantile(uniform());
}

double RandomStream::gamma(double shape) {
  require(shape > 0.0, "a gamma distribution needs a positive shape");
  if (shape < 1.0) {
    const double larger = gamma(shape + 1.0);
    return larger * portable_exp(portable_log(uniform()) / shape);
  }
  const double d = shape - 1.0 / 3.0;
  const double c = 1.0 / std::sqrt(9.0 * d);
  while (true) {
    const double x = normal();
    const double root = 1.0 + c * x;
    if (root <= 0.0) {
      continue;
    }
    const double v = root * root * root;
    if (portable_log(uniform()) < 0.5 * x * x + d - d * v + d * portable_log(v)) {
      return d * v;
    }
  }
}

}  // namespace runflat::sim
