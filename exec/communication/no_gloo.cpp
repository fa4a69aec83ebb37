#include "exec/communication/gloo_transport.hpp"

#include <stdexcept>

namespace runflat::exec {

std::unique_ptr<Transport> make_gloo_transport(const GlooSpec& /*spec*/) {
  throw std::runtime_error("built without Gloo: install libgloo-dev and build again");
}

}  // namespace runflat::exec
