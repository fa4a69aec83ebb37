#include "exec/data/numpy_random.hpp"

#include <bit>
#include <limits>

namespace runflat::exec {

std::uint64_t NumpyRandomState::up_to(std::uint64_t most) {
  if (most == 0) {
    return 0;  // without a draw
  }
  const std::uint64_t mask = ~std::uint64_t{0} >> std::countl_zero(most);
  const bool wide = most > std::numeric_limits<std::uint32_t>::max();
  while (true) {
    std::uint64_t draw = bits_();
    if (wide) {
      draw = (draw << 32U) | bits_();
    }
    if ((draw & mask) <= most) {
      return draw & mask;
    }
  }
}

}  // namespace runflat::exec
