#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace runflat::exec {

/// numpy.random.RandomState(seed), as far as Megatron's data order needs it: Mersenne Twister
/// 19937 and the legacy shuffle, which numpy has promised never to change (NEP 19).
class NumpyRandomState {
 public:
  explicit NumpyRandomState(std::uint32_t seed) : bits_(seed) {}

  /// Uniform on {0, ..., most}: draws under the smallest mask that holds `most` until one fits, of
  /// 32 bits, or of 64 with the high half first where `most` needs more.
  [[nodiscard]] std::uint64_t up_to(std::uint64_t most);

  /// Fisher and Yates from the last item down, as RandomState.shuffle.
  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (std::size_t i = items.size(); i-- > 1;) {
      std::swap(items[i], items[up_to(i)]);
    }
  }

 private:
  std::mt19937 bits_;
};

}  // namespace runflat::exec
