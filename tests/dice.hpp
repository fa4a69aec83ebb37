#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace runflat::tests {

/// Random test inputs that are the same on every platform: std::mt19937_64 is specified exactly,
/// the standard distributions are not.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : bits_(seed) {}

  /// A number of [least, most].
  [[nodiscard]] std::int64_t between(std::int64_t least, std::int64_t most) {
    return least +
           static_cast<std::int64_t>(bits_() % static_cast<std::uint64_t>(most - least + 1));
  }
  [[nodiscard]] std::size_t index(std::size_t size) { return bits_() % size; }
  [[nodiscard]] bool one_in(std::int64_t chances) { return between(1, chances) == 1; }
  template <typename T>
  [[nodiscard]] const T& pick(const std::vector<T>& items) {
    return items.at(index(items.size()));
  }
  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (std::size_t i = items.size(); i > 1; --i) {
      std::swap(items[i - 1], items[index(i)]);
    }
  }

 private:
  std::mt19937_64 bits_;
};

}  // namespace runflat::tests
